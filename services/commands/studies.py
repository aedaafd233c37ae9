"""What most verbs begin with: a study on this machine's tracking and workers, and a progress display for it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from services.environment import tracking

if TYPE_CHECKING:
    from services.console import StudyView
    from training.protocol.study import Study


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
