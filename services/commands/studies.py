"""What most verbs begin with: a recipe, a study of it on this machine's tracking and workers, and a progress display for it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from services.environment import tracking

if TYPE_CHECKING:
    from services.console import StudyView
    from training.protocol.study import Study


def _known(recipe: str) -> str:
    """The name as it was given. Raises RecipeError, before the verb imports seconds of libraries."""
    from training.protocol.recipe import load_recipe

    load_recipe(recipe)
    return recipe


RecipeOption = Annotated[
    str, typer.Option(callback=_known, help="Name of a shipped recipe (demo, paper, …) or path of a .json file.")
]


def study(recipe: str, data: Path | None, workers: int, slots: int | None = None) -> "Study":
    """`workers` prepare films, `slots` (default: as many) train units. Raises RecipeError before anything slow is done."""
    from training.protocol.recipe import load_recipe

    chosen = load_recipe(recipe)  # before anything slow, and before a database is made
    from services.executors.process import ProcessExecutor
    from training.protocol.study import Study

    return Study(chosen, data, tracking(), ProcessExecutor(slots or workers), workers)


def watched() -> "StudyView":
    """Progress bars on standard output."""
    from services.console import StudyView

    return StudyView(Console(width=None if sys.stdout.isatty() else 165))
