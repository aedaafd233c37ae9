"""How many units of a recipe share a GPU, or this host's cores, by the tables that were measured (`training/sharing.py`)."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from training.protocol.estimate import films_through
from training.protocol.plan import Plan
from training.protocol.recipe import Recipe
from training.protocol.unit import Unit
from training.sharing import FOLDER, HOW, Asked, best, is_settled, kind_of_cpu, tables


class NotMeasured(RuntimeError):
    """A number is to be taken from tables, and they are not there."""


def work_of(units: Iterable[Unit], device: str) -> dict[Asked, float]:
    """Films that go through the loop on a device, by what is measured of them: the units' costs, without a guess of any device's speed."""
    work: dict[Asked, float] = defaultdict(float)
    for unit in units:
        how = {name: getattr(unit.training, name) for name in HOW}
        films = unit.training.batch_size // unit.training.accumulate
        asked = Asked(backbone=unit.backbone.name, size=unit.size, batch=films, device=device, threads=unit.threads, **how)
        work[asked] += films_through(unit)
    return dict(work)


def units_per_gpu(recipe: Recipe, outline: Callable[[], Plan], home: Path) -> int:
    """The recipe's number, or the measured one; 1 where no unit is for a GPU. `outline` is asked for the units only when it matters.

    Only kinds of GPU of which all tables are in `home` count, and of several the least number. Raises NotMeasured, which says what
    to run.
    """
    if recipe.running.units_per_gpu != "measured":
        return recipe.running.units_per_gpu
    if recipe.device != "cuda":
        return 1
    work, found = work_of(outline().distinct.values(), "cuda"), tables(home)
    whole = [known for known in found.values() if work.keys() <= known.keys()]
    if not whole:
        nearest = max(found.values(), key=lambda known: len(known.keys() & work.keys()), default={})
        raise NotMeasured(_what_to_run(recipe, home, [asked for asked in work if asked not in nearest]))
    return min(best(work, known) for known in whole)


def workers_here(recipe: Recipe, outline: Callable[[], Plan], home: Path) -> int | None:
    """Workers that this host should run for a recipe on CPUs; None where that was not measured, or not to its end."""
    known = tables(home).get(kind_of_cpu(), {})
    if recipe.device != "cpu" or recipe.gpus_per_unit > 1 or not known:
        return None
    work = work_of(outline().distinct.values(), "cpu")
    return best(work, known) if work.keys() <= known.keys() and is_settled(work, known) else None


def _what_to_run(recipe: Recipe, home: Path, missing: list[Asked]) -> str:
    return (
        f"recipe {recipe.name!r} has running.units_per_gpu = 'measured', and {home / FOLDER} has no table of any GPU for: "
        f"{', '.join(map(str, missing))}. Run `mdmt sharing --recipe FILE --device cuda` with the recipe's file where the GPU is, "
        "with this state folder; or put a number in the recipe"
    )
