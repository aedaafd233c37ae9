"""`mdmt sharing`: how many units should train side by side, measured where that is not known yet, and what follows for a recipe."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table as Grid

from services.commands.studies import RecipeOption
from services.environment import home, tracking

if TYPE_CHECKING:
    from training.protocol.recipe import Recipe
    from training.sharing import Asked, Table


class Device(StrEnum):
    """What units train on."""

    cpu = "cpu"
    cuda = "cuda"


def sharing(
    recipe: RecipeOption = "demo",
    data: Annotated[Optional[Path], typer.Option(help="Data folder; default: the recipe's own.")] = None,  # noqa: UP045
    device: Annotated[Optional[Device], typer.Option(help="Default: the recipe's.")] = None,  # noqa: UP045
    most: Annotated[int, typer.Option(min=2, help="Processes side by side, at most.")] = 4,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement; there are three in turns.")] = 5,
) -> None:
    """Measure how many units of a recipe should share a GPU, or this host's cores, unless that is known; on an idle machine."""
    from services.executors.process import ProcessExecutor
    from training import side_by_side
    from training.protocol.recipe import load_recipe
    from training.protocol.sharing import work_of
    from training.protocol.study import Study
    from training.sharing import file_of, tables, write

    chosen = load_recipe(recipe)
    out, asked_for = _out(), str(device or chosen.device)
    work = work_of(Study(chosen, data, tracking(), ProcessExecutor(1), 1).outline().distinct.values(), asked_for)
    kind = side_by_side.kind_of(asked_for)
    for asked in work:
        if not file_of(home(), asked, kind).is_file():
            with out.status(f"measuring {asked}"):
                write(home(), side_by_side.measure(asked, home(), kind, most, seconds))
    known = tables(home())[kind]
    out.print(_grid({asked: known[asked] for asked in work}, kind))
    out.print(_decision(chosen, work, known, asked_for), soft_wrap=True)


def _grid(known: "dict[Asked, Table]", kind: str) -> Grid:
    grid = Grid("units", "side by side", "films/s", "gain", "memory each, MB", title=f"sharing: {kind}")
    for asked, table in known.items():
        alone = table.rows[0].films_per_second
        for row in table.rows:
            gain = f"{row.films_per_second / alone:.2f}×"
            name = str(asked) if row.processes == 1 else ""
            grid.add_row(name, str(row.processes), f"{row.films_per_second:,.1f}", gain, f"{row.memory / 1e6:,.0f}")
        if table.out_of_memory:
            grid.add_row("", str(len(table.rows) + 1), "out of memory", "", "", style="yellow")
    return grid


def _decision(recipe: "Recipe", work: "dict[Asked, float]", known: "dict[Asked, Table]", device: str) -> str:
    from training.sharing import best, is_settled

    number = best(work, known)
    open_end = "" if is_settled(work, known) else "; more may be better still: delete the tables and measure with a larger --most"
    if device == "cuda":
        return f"{number} unit(s) per GPU, which running.units_per_gpu 'measured' takes from here{open_end}"
    follows = "which `mdmt run` does by itself" if not open_end else f"`mdmt run --workers {number}`"
    return f"this host should run {number} worker(s) of {recipe.threads} thread(s), {follows}{open_end}"


def _out() -> Console:
    return Console(width=None if sys.stdout.isatty() else 165)
