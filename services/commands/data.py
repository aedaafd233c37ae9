"""`mdmt data`: data sets that anyone can collect. What is here is checked; nothing is downloaded (docs/public-data.md says why)."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from training.data.public_pack import Finding

data_app = typer.Typer(no_args_is_help=True, help="Data sets that anyone can collect.")


class Pack(StrEnum):
    """What can be asked for."""

    PUBLIC = "public"


class PackIncomplete(RuntimeError):
    """A folder that does not hold what it should."""


@data_app.callback()
def _group() -> None:
    """Data sets that anyone can collect."""


@data_app.command("fetch")
def fetch(
    pack: Annotated[Pack, typer.Argument(help="public: films with outcomes, with Brixia scores and with lung masks.")],
    data: Annotated[Path, typer.Option(help="The folder to check.")] = Path("data/real-cxr"),
) -> None:
    """Say what of a pack is in a folder, and where the rest is published. Downloads nothing; exit code 1 while something is missing."""
    from training.data import public_pack

    out = Console(width=None if sys.stdout.isatty() else 165)
    findings = public_pack.check(data)
    out.print(_table(f"{pack.value} pack in {data}", findings))
    missing = [finding for finding in findings if finding.missing]
    for part in public_pack.PARTS:
        if any(finding.part == part.folder for finding in missing):
            out.print(f"\n{data / part.folder}: to be collected from", markup=False, highlight=False)
            for source in part.sources:
                out.print(f"  - {source}", markup=False, highlight=False)
    if missing:
        raise PackIncomplete(
            f"{len(missing)} of {len(findings)} things that belong into {data} are missing or too few. Nothing is downloaded: "
            f"licences differ by image, and some sources ask a person to accept their terms. {public_pack.PAGE} has every step"
        )


def _table(title: str, findings: "list[Finding]") -> Table:
    table = Table("part", "what", "found", "documented", "", title=escape(title))
    for finding in findings:
        verdict = "missing" if finding.missing else "more than the pack" if finding.found > finding.documented else ""
        table.add_row(
            finding.part, escape(finding.of), str(finding.found), str(finding.documented), escape(finding.says or verdict)
        )
    return table
