"""`mdmt films`: the stores of prepared films on this machine, and dropping those that no recipe needs."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.environment import home, tracking
from training.data.films.shelf import Shelved, drop, shelved

films_app = typer.Typer(no_args_is_help=True, help="Stores of prepared films.")
RecipesOption = Annotated[
    list[str] | None, typer.Option("--recipe", help="A recipe beside the shipped, submitted and tuned ones. Repeatable.")
]
DataOption = Annotated[Optional[Path], typer.Option(help="Data folder of the recipes named; default: their own.")]  # noqa: UP045


@films_app.command("list")
def show(recipe: RecipesOption = None, data: DataOption = None) -> None:
    """Every store: its films, what it takes on the disk, what made it, and which recipes need it."""
    stores, needed = _looked_up(recipe or [], data)
    table = Table("store", "films", "left out", "MB", "U-Net on", "needed by", title=f"prepared films in {home() / 'films'}")
    for store in stores:
        by = ", ".join(needed[store.name]) or ("nothing: " + escape(store.damage) if store.damage else "nothing")
        made = ", ".join(store.ways) or "not recorded"
        table.add_row(store.name, str(store.films), str(store.failures), _megabytes(store), made, by)
    _out().print(table)


@films_app.command("prune")
def prune(
    recipe: RecipesOption = None,
    data: DataOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Drop the stores that no recipe needs; their films can be prepared again from the files they came from."""
    stores, needed = _looked_up(recipe or [], data)
    idle = [store for store in stores if not needed[store.name]]
    if not idle:
        _out().print(f"nothing to drop: each of {len(stores)} store(s) is needed")
        return
    for store in idle:
        _out().print(f"{store.name}: {store.films} films, {_megabytes(store)} MB", highlight=False)
    if not yes:
        typer.confirm(f"drop {len(idle)} store(s)?", abort=True)
    for store in idle:
        drop(store)
    _out().print(f"{sum(store.taken for store in idle):,} bytes freed", highlight=False)


def _looked_up(named: list[str], data: Path | None) -> tuple[list[Shelved], dict[str, list[str]]]:
    from training.protocol.keeping import at_hand, users
    from training.protocol.recipe import load_recipe

    stores = shelved(home() / "films")
    shipped, elsewhere = at_hand(home())
    known = [*((recipe, None) for recipe in shipped), *((load_recipe(name), data) for name in named)]
    return stores, users(stores, known, elsewhere, tracking()) if stores else {}


def _megabytes(store: Shelved) -> str:
    return f"{store.taken / 1e6:,.1f}"


def _out() -> Console:
    return Console(width=None if sys.stdout.isatty() else 165)
