"""`mdmt promote`, `mdmt rollback`, `mdmt promotions`: which version is served, and how that came to be."""

import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.environment import tracking

if TYPE_CHECKING:
    from training.promotion import Promotion

NameOption = Annotated[str, typer.Option(help="Registered model.")]
AliasOption = Annotated[str, typer.Option(help="What serving follows.")]
ReasonOption = Annotated[str, typer.Option(help="Recorded with the version, for others to read.")]
WhoOption = Annotated[Optional[str], typer.Option(help="Recorded too; default: the user of this process.")]  # noqa: UP045


def promote(
    name: NameOption = "mdmt",
    version: Annotated[Optional[int], typer.Option(min=1, help="Default: the newest.")] = None,  # noqa: UP045
    alias: AliasOption = "champion",
    reason: ReasonOption = "",
    who: WhoOption = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also when it is worse than the champion, not comparable with it, or was rolled back from: say why."
        ),
    ] = False,
) -> None:
    """Check a version as serving would and against the champion's folds, then point the alias at it and record that."""
    if force and not reason:
        raise typer.BadParameter("--force needs a --reason: what the gate found is waived by it", param_hint="--reason")
    from training import promotion

    moved = promotion.promote(name, version, alias, reason or "by hand", tracking(), who, force)
    _say(f"{name}@{alias} {'already is' if moved.record is None else 'is now'} version {moved.version}{_was(moved)}")
    for check in moved.checks:
        _say(f"  {check.name}: {'' if check.passed else 'WAIVED, '}{check.says}")


def rollback(
    name: NameOption = "mdmt", alias: AliasOption = "champion", reason: ReasonOption = "by hand", who: WhoOption = None
) -> None:
    """Point the alias at the version that was served before; called again, at the one before that."""
    from training import promotion

    moved = promotion.rollback(name, alias, reason, tracking(), who)
    _say(f"{name}@{alias} is back at version {moved.version}{_was(moved)}")


def promotions(
    name: NameOption = "mdmt",
    alias: Annotated[Optional[str], typer.Option(help="Default: all.")] = None,  # noqa: UP045
) -> None:
    """List every promotion and rollback, the newest first: who, when, why, and what the gate found."""
    from training import promotion

    table = Table("when", "who", "what", "why", "against the champion", title=f"promotions of {name}")
    for move in promotion.history(name, tracking(), alias):
        what = f"{move.action} {move.alias}: {move.previous or 'none'} → {move.version}" + (", forced" if move.forced else "")
        found = next((check.says for check in move.checks if check.name.startswith("not worse")), "")
        table.add_row(move.when, escape(move.who), what, escape(move.reason), escape(found))
    _out().print(table)


VERBS = (promote, rollback, promotions)


def _was(move: "Promotion") -> str:
    return f" (was {move.previous})" if move.previous not in (None, move.version) else ""


def _say(line: str) -> None:
    _out().print(line, soft_wrap=True, markup=False, highlight=False)


def _out() -> Console:
    return Console(width=None if sys.stdout.isatty() else 165)
