"""From predictions back to rows: which films the served network's folds tested, and whose."""

from dataclasses import replace

import numpy as np
import pytest

from cxr.tasks import TASKS
from tests.training.protocol.plans import COHORTS, plan
from tests.training.protocol.tiny import SMALLEST, tiny_recipe
from training.data.cohort import Cohort
from training.evaluation.metrics import Predictions
from training.evaluation.results import Results, UnitResult
from training.protocol.plan import Plan
from training.protocol.recipe import Scheme
from training.protocol.served import NotTheSameFilms, judged_films, served_units

RECIPE = tiny_recipe(
    schemes=(Scheme(kind="cv", folds=2, repeats=2), Scheme(kind="loco", primary="aiforcovid", centres=("A", "B")))
)


def results_of(given: Plan) -> Results:
    """Every unit finished."""
    units = []
    for unit in given.units:
        for task in unit.tasks:
            samples = [s for s in unit.part("test") if task in s.labels]
            truth = np.array([s.labels[task] for s in samples])
            probabilities = np.full((len(samples), len(TASKS[task].classes)), 1 / len(TASKS[task].classes))
            test = Predictions(tuple(s.digest for s in samples), truth, probabilities, np.arange(len(samples)))
            units.append(
                UnitResult(
                    experiment=unit.experiment, title="", backbone=unit.backbone.name, weights=unit.backbone.weights,
                    subset=unit.subset, scheme=unit.scheme, repeat=unit.repeat, fold=unit.fold, task=task, state="finished",
                    test=test, figures={"temperature": 2.0}, run_id="run",
                )
            )  # fmt: skip
    return Results("tiny", "", "prognosis", tuple(units))


GIVEN = plan(RECIPE)
RESULTS = results_of(GIVEN)


def test_the_served_folds_are_those_of_mdmt_in_the_first_scheme() -> None:
    found = [(unit.experiment, unit.scheme, unit.repeat, unit.fold, one.task) for unit, one in
             served_units(RECIPE, SMALLEST, GIVEN, RESULTS)]  # fmt: skip
    assert found == [
        ("mdmt", "cv", repeat, fold, task) for repeat in (0, 1) for fold in ("cv-0", "cv-1") for task in ("prognosis", "severity")
    ]


def test_every_film_is_judged_once_with_its_own_centre_and_patients_over_all_folds() -> None:
    prognosis, severity = judged_films(RECIPE, SMALLEST, GIVEN, RESULTS, COHORTS)
    assert (prognosis.task.name, severity.task.name) == ("prognosis", "severity")
    for judged, cohort in zip((prognosis, severity), COHORTS, strict=True):
        rows = {f"{cohort.name}/{row.id}": row for row in cohort.rows}
        assert sorted(judged.predictions.films) == sorted(rows)
        assert [groups["centre"] for groups in judged.groups] == [rows[film].centre for film in judged.predictions.films]
        by_person: dict[int, set[str]] = {}
        for film, person in zip(judged.predictions.films, judged.predictions.patients.tolist(), strict=True):
            by_person.setdefault(person, set()).add(rows[film].patient)
        assert len(by_person) == len({row.patient for row in cohort.rows})
        assert all(len(patients) == 1 for patients in by_person.values())


def test_films_that_are_not_those_of_the_plan_are_refused() -> None:
    def changed(unit: UnitResult) -> UnitResult:
        test = unit.test
        return replace(unit, test=Predictions(test.films[::-1], test.truth, test.probabilities, test.patients))

    mixed = replace(RESULTS, units=tuple(changed(unit) for unit in RESULTS.units))
    with pytest.raises(NotTheSameFilms, match="run the recipe again"):
        judged_films(RECIPE, SMALLEST, GIVEN, mixed, COHORTS)


def test_folds_that_did_not_finish_are_left_out_and_without_any_there_is_nothing() -> None:
    lost = tuple(
        replace(unit, state="missing", test=None) if unit.fold == "cv-1" or unit.task == "severity" else unit
        for unit in RESULTS.units
    )
    (prognosis,) = judged_films(RECIPE, SMALLEST, GIVEN, replace(RESULTS, units=lost), COHORTS)
    assert 0 < len(prognosis.predictions) < len(COHORTS[0].rows)
    assert judged_films(RECIPE, SMALLEST, GIVEN, replace(RESULTS, units=()), COHORTS) == ()


def test_attributes_change_groups_and_no_fingerprint() -> None:
    told = {"age_group": "50-64", "sex": "F"}

    def aged(cohort: Cohort) -> Cohort:
        return Cohort(cohort.name, tuple(replace(row, attributes={**row.attributes, **told}) for row in cohort.rows))

    cohorts = tuple(map(aged, COHORTS))
    again: Plan = plan(RECIPE, cohorts=cohorts)
    assert list(again.distinct) == list(GIVEN.distinct)
    judged = judged_films(RECIPE, SMALLEST, again, RESULTS, cohorts)
    assert all(groups["age group"] == "50-64" and groups["sex"] == "F" for one in judged for groups in one.groups)
