"""The variants of a recipe as studies of their own, and what a study has cost."""

from collections.abc import Mapping

from mlflow.entities import Run

from training.imagenet import WeightsNotFound
from training.protocol.recipe import variants
from training.protocol.study import Study


def finished_variants(study: Study) -> dict[str, Study]:
    """Variants of the study's recipe by name, where all units are finished; the others are left out, and `cost_of` names them."""
    found = {name: study.beside(recipe) for name, recipe in variants(study.recipe.name).items()}
    return {name: one for name, one in found.items() if unfinished(one) == 0}


def unfinished(study: Study) -> int:
    """Units that the study still lacks. Asks nobody to prepare films: a study whose films are not prepared has run nothing."""
    try:
        study.require_weights()
    except WeightsNotFound:  # a set of weights of one's own that was not made
        return len(study.outline().units)
    if not study.segmenter_is_trained() or not study.films_are_prepared(Nobody()):
        return len(study.outline().units)
    plan = study.plan(Nobody())
    return len(plan.distinct) - len(study.tracking.finished(plan.distinct))


def cost_of(study: Study, finished: Mapping[str, Study]) -> str:
    """One paragraph: how many trainings, how long, on what; variants that are not finished by name."""
    lines = [f"- {_cost(one)}" for one in (study, *finished.values())]
    absent = [name for name in variants(study.recipe.name) if name not in finished]
    lines += [f"- Not run to the end, so not shown: {study.recipe.name}+{name}." for name in absent]
    return "### What it cost\n\n" + "\n".join(lines)


def _cost(study: Study) -> str:
    plan = study.plan(Nobody())
    runs = study.tracking.finished(plan.distinct).values()
    minutes = sum(_seconds(run) for run in runs) / 60
    return (
        f"`mdmt run --recipe {study.recipe.name}`: {len(runs)} of {len(plan.distinct)} trainings, their epochs together {minutes:.0f} "
        f"minutes of a worker with one thread, beside whatever else the machine did ({study.recipe.description}); recipe digest "
        f"{study.recipe.digest()[:12]}."
    )


def _seconds(run: Run) -> float:
    """Of its epochs; of the whole run where no epoch's time was measured. A run that was put to sleep for an hour did not cost it."""
    figures = run.data.metrics
    if "seconds_per_epoch" in figures:
        return float(figures["seconds_per_epoch"] * figures["epochs"])
    return float(run.info.end_time - run.info.start_time) / 1000


class Nobody:
    """A view that nobody watches."""

    def stage(self, name: str, done: int, total: int) -> None: ...

    def units(self, plan: object, to_run: int) -> None: ...

    def unit_event(self, unit: object, event: object) -> None: ...
