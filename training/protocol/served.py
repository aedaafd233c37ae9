"""The folds that speak for what is served, and every film that they tested, with what its data set tells of it."""

from collections.abc import Iterator, Sequence

import numpy as np

from cxr.tasks import by_name
from training.data.attributes import groups_of
from training.data.cohort import Cohort, Row
from training.evaluation.card.judged import Judged
from training.evaluation.metrics import Predictions, pooled
from training.evaluation.results import Results, UnitResult
from training.protocol.plan import Plan
from training.protocol.recipe import BackboneChoice, Recipe
from training.protocol.unit import Sample, Unit


class NotTheSameFilms(RuntimeError):
    """Predictions that are not of the films of the plan."""


def served_units(recipe: Recipe, backbone: BackboneChoice, plan: Plan, results: Results) -> Iterator[tuple[Unit, UnitResult]]:
    """Finished units of `recipe.served_group` with this backbone, and what they came to: one pair per unit and task."""
    where = (*recipe.served_group, backbone.name, backbone.weights)
    finished = {
        (found.repeat, found.fold, found.task): found
        for found in results.units
        if (found.experiment, found.subset, found.scheme, found.backbone, found.weights) == where and found.state == "finished"
    }
    for unit in plan.units:
        if (unit.experiment, unit.subset, unit.scheme, unit.backbone.name, unit.backbone.weights) == where:
            for task in unit.tasks:
                if found := finished.get((unit.repeat, unit.fold, task)):
                    yield unit, found


def judged_films(
    recipe: Recipe, backbone: BackboneChoice, plan: Plan, results: Results, cohorts: Sequence[Cohort]
) -> tuple[Judged, ...]:
    """One for each task that is answered and has test films: those of the first repeat, because further repeats ask about the
    same films again. Raises NotTheSameFilms when a unit's predictions are not of the films that the plan tests.
    """
    rows = {(cohort.name, row.id): row for cohort in cohorts for row in cohort.rows}
    pairs = [(unit, found) for unit, found in served_units(recipe, backbone, plan, results) if found.test is not None]
    first = min((unit.repeat for unit, _ in pairs), default=0)
    names = dict.fromkeys(found.task for _, found in pairs if found.task in recipe.answers)
    return tuple(
        _judged([(unit, found) for unit, found in pairs if (found.task, unit.repeat) == (task.name, first)], rows)
        for task in by_name(tuple(names))
    )


def _judged(pairs: Sequence[tuple[Unit, UnitResult]], rows: dict[tuple[str, str], Row]) -> Judged:
    folds = tuple(found for _, found in pairs)
    films = [rows[sample.cohort, sample.row] for unit, found in pairs for sample in _tested(unit, found)]
    numbers = {person: i for i, person in enumerate(dict.fromkeys(row.patient for row in films))}
    persons = np.array([numbers[row.patient] for row in films], dtype=np.int64)
    scaled = all("temperature" in found.figures for found in folds)

    def together(calibrated: bool) -> Predictions:
        whole = pooled([found.answers(calibrated) for found in folds])
        return Predictions(whole.films, whole.truth, whole.probabilities, persons)

    return Judged(by_name((folds[0].task,))[0], folds, together(False), together(scaled), tuple(map(groups_of, films)))


def _tested(unit: Unit, found: UnitResult) -> list[Sample]:
    """The films of a unit's test part that know the task, in the order of its predictions."""
    samples = [sample for sample in unit.part("test") if found.task in sample.labels]
    planned = [(sample.digest, sample.labels[found.task]) for sample in samples]
    test = found.answers()
    if planned != list(zip(test.films, test.truth.tolist(), strict=True)):
        raise NotTheSameFilms(
            f"{unit.title}: run {found.run_id} predicted {found.task!r} of {len(test)} films, and they are not the {len(planned)} films "
            "that the plan tests, in its order: the data folder or the run was changed; run the recipe again"
        )
    return samples
