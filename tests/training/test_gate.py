"""What is compared before an alias moves: the same people, the same task, fold by fold."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr.manifest import MANIFEST
from tests.training.protocol.plans import plan
from tests.training.protocol.tiny import SMALLEST, tiny_recipe
from training.evaluation.results import Results, UnitResult
from training.gate import FOLDS, LIMIT, PROVENANCE, FoldFigures, check_against, fold_figures, recorded
from training.protocol.plan import Plan
from training.protocol.recipe import Recipe, Scheme

FULL = dict.fromkeys(PROVENANCE, "known")


def tell(folder: Path, lineage: dict[str, str]) -> Path:
    """Write another lineage into a sealed bundle: it is no part of any digest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"lineage": lineage}))
    return folder


def figures(auc: Sequence[float], task: str = "prognosis", first: int = 0) -> FoldFigures:
    folds = {f"people-{i}": {"auc": value, "acc": value} for i, value in enumerate(auc, first)}
    return FoldFigures(task=task, scheme="cv", metric="auc", folds=folds)


def against(candidate: FoldFigures | None, champion: FoldFigures | None) -> tuple[bool, str]:
    tags = {v: {FOLDS: of.model_dump_json()} if of else {} for v, of in ((2, candidate), (1, champion))}
    check, _ = check_against(2, 1, tags)
    assert check.waivable
    return check.passed, check.says


OLD = [0.80, 0.84, 0.78, 0.83, 0.81]


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ([0.02, -0.01, 0.03, 0.0, 0.01], True),
        ([0.0, 0.0, 0.0, 0.0, 0.0], True),
        ([-0.005, -0.006, -0.004, -0.005, -0.006], True),
        ([-0.02, -0.021, -0.02, -0.019, -0.02], False),
        ([-0.02, -0.02, -0.02, -0.02, -0.02], False),
        ([-0.12, 0.08, -0.10, 0.06, -0.02], True),
        ([-0.30, 0.10, -0.20, 0.10, -0.10], False),
    ],
    ids=[
        "better", "equal", "less by less than the margin", "less by more, in every fold", "less by the same in every fold",
        "less by more, and so scattered that it may be chance", "so much less that scatter is no excuse",
    ],
)  # fmt: skip
def test_a_version_is_worse_by_more_than_the_margin_beyond_chance_or_by_more_than_the_limit(
    change: list[float], passes: bool
) -> None:
    passed, says = against(figures([a + b for a, b in zip(OLD, change, strict=True)]), figures(OLD))
    assert passed is passes
    assert says.endswith(": not worse" if passes else ": worse")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=11), st.data())
def test_a_version_that_is_nowhere_lower_passes_and_one_that_is_everywhere_much_lower_does_not(
    old: list[float], data: st.DataObject
) -> None:
    gains = data.draw(st.lists(st.floats(0, 0.5), min_size=len(old), max_size=len(old)))
    assert against(figures([a + b for a, b in zip(old, gains, strict=True)]), figures(old))[0]
    losses = data.draw(st.lists(st.floats(2 * LIMIT, 0.5), min_size=len(old), max_size=len(old)))
    assert not against(figures([a - b for a, b in zip(old, losses, strict=True)]), figures(old))[0]


def test_without_a_champion_there_is_nothing_to_be_worse_than() -> None:
    check, found = check_against(1, None, {1: {}})
    assert check.passed
    assert not found


def test_versions_that_share_no_folds_or_record_none_are_not_comparable_which_closes_the_gate() -> None:
    assert against(figures(OLD, first=9), figures(OLD)) == (
        False,
        "0 of its 5 folds test the people of a fold of version 1 on 'prognosis', at least 2 must: other data, other folds or another "
        "task are not comparable",
    )
    assert not against(figures(OLD, first=4), figures(OLD))[0]
    assert against(figures(OLD, first=3), figures(OLD))[1].startswith(
        "auc of prognosis 0.8200, of version 1 0.8200 on the same 2"
    )
    assert not against(figures(OLD, task="severity"), figures(OLD))[0]
    assert against(None, figures(OLD)) == (False, "version 2 records no folds: not comparable")
    assert against(figures(OLD), None) == (False, "version 1 records no folds: not comparable")


def results_of(given: Plan, acc: float = 0.5) -> Results:
    units = [
        UnitResult(
            experiment=u.experiment, title="", backbone=u.backbone.name, weights=u.backbone.weights, subset=u.subset,
            scheme=u.scheme, repeat=u.repeat, fold=u.fold, task=task, state="finished",
            figures={"acc": acc, "auc": 0.1 * i, "brier": 0.2},
        )
        for i, u in enumerate(given.units)
        for task in u.tasks
    ]  # fmt: skip
    return Results("tiny", "", "prognosis", tuple(units))


def of(recipe: Recipe) -> FoldFigures:
    given = plan(recipe)
    return fold_figures(recipe, SMALLEST, given, results_of(given))


def test_what_is_recorded_is_every_fold_of_the_first_scheme_and_survives_the_tag() -> None:
    folds = (Scheme(kind="cv", folds=3), Scheme(kind="loco", primary="aiforcovid"))
    found = of(tiny_recipe(schemes=folds))
    assert (found.task, found.scheme, found.metric, len(found.folds)) == ("prognosis", "cv", "auc", 3)
    assert all(one.keys() == {"acc", "auc"} for one in found.folds.values())
    assert recorded({FOLDS: found.model_dump_json()}) == found
    assert recorded({}) is recorded({FOLDS: "{}"}) is None


def test_a_fold_is_the_same_when_it_tests_the_same_people_whatever_the_size_of_the_films_and_another_when_it_does_not() -> None:
    cv, larger = tiny_recipe(schemes=(Scheme(kind="cv", folds=3),)), {"size": 96}
    assert of(cv).folds.keys() == of(tiny_recipe(schemes=(Scheme(kind="cv", folds=3),), pipeline=larger)).folds.keys()
    assert of(cv).folds.keys().isdisjoint(of(tiny_recipe(schemes=(Scheme(kind="cv", folds=3),), seed=5)).folds.keys())
    repeated = of(tiny_recipe(schemes=(Scheme(kind="loco", primary="aiforcovid", repeats=2),)))
    assert len(repeated.folds) == 2 * len(of(tiny_recipe(schemes=(Scheme(kind="loco", primary="aiforcovid"),))).folds)
