"""Picking and promoting: the honest winner, and an alias that moves only to a version that answers its golden case."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr.bundle import CARD, BundleError
from cxr.reading import read
from tests.serving.tiny_bundle import write_bundle
from tests.training.protocol.tiny import tiny_recipe
from training.evaluation.results import Line
from training.protocol.recipe import BackboneChoice, Recipe, RecipeError
from training.registry import GateClosed, estimates_of, golden_film, pick, promote
from training.tracking import Tracking, default_uri

SMALL = BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch")
LITE = BackboneChoice(name="efficientnet_lite0", weights="imagenet")
FRESH = BackboneChoice(name="efficientnet_lite0", weights="scratch")


def recipe(**changes: object) -> Recipe:
    return tiny_recipe(**{"backbones": (SMALL, LITE, FRESH), **changes})


def line(backbone: BackboneChoice, auc: list[float], **changes: object) -> Line:
    where = {"experiment": "mdmt", "title": "MDMT", "subset": "all", "scheme": "cv", "task": "prognosis"} | changes
    return Line(
        backbone=backbone.name,
        weights=backbone.weights,
        folds={"auc": auc, "acc": [1 - a for a in auc]},
        pooled={},
        films=9,
        **where,
    )


def test_the_backbone_with_the_best_mean_over_the_folds_is_picked_and_its_weights_matter() -> None:
    lines = [line(SMALL, [0.9, 0.5]), line(LITE, [0.75, 0.75]), line(FRESH, [0.6, 0.6])]
    assert pick(recipe(), lines) == LITE
    assert pick(recipe(pick="acc"), lines) == FRESH


def test_other_experiments_schemes_and_tasks_have_no_say() -> None:
    changes = {"experiment": "ft", "scheme": "loco", "subset": "release-1", "task": "severity"}
    others = [line(LITE, [0.99], **{key: value}) for key, value in changes.items()]
    assert pick(recipe(), [line(SMALL, [0.6]), line(LITE, [0.5]), *others]) == SMALL


def test_a_recipe_without_a_result_to_pick_from_is_refused() -> None:
    with pytest.raises(RecipeError, match="no 'mdmt' result on task 'prognosis'"):
        pick(recipe(), [line(SMALL, [0.9], experiment="ft"), line(SMALL, [])])


def test_a_version_is_described_by_the_figures_of_its_own_start_not_of_the_same_backbone_started_otherwise() -> None:
    own = [line(FRESH, [0.6]), line(FRESH, [0.5], scheme="loco"), line(FRESH, [0.4], task="severity")]
    others = [line(LITE, [0.9]), line(SMALL, [0.7]), line(FRESH, [0.8], experiment="ft"), line(FRESH, [0.3], subset="release-1")]
    assert estimates_of(recipe(), FRESH, [*others, *own]) == own


def test_the_golden_film_is_generated_and_always_the_same() -> None:
    first = golden_film()
    assert hashlib.sha256(first).digest() == hashlib.sha256(golden_film()).digest()
    assert read(first).pixels.ndim == 2


@pytest.fixture(scope="module")
def tracking(new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """Versions of "mdmt": 1 and 2 are good, 3 answers its golden case differently, 4 was altered after it was sealed."""
    home = new_home()
    tracking = Tracking(default_uri(home), home)
    experiment = tracking.experiment("mdmt-test")
    for name, shift in (("one", 0.0), ("two", 0.0), ("shifted", 0.2), ("altered", 0.0)):
        folder = write_bundle(tmp_path_factory.mktemp(name), shift=shift)
        if name == "altered":
            (folder / CARD).write_text("another card")
        with tracking.run(experiment, name, {}, {}) as run:
            tracking.register(run.run_id, folder, "mdmt", {"mdmt.bundle": name})
    return tracking


def alias(tracking: Tracking, name: str) -> str:
    return str(tracking.client.get_model_version_by_alias("mdmt", name).version)


def test_promotion_moves_the_alias_keeps_the_previous_one_and_records_the_reason(tracking: Tracking) -> None:
    assert promote("mdmt", 1, "champion", "first", tracking) == (1, None)
    assert promote("mdmt", 2, "champion", "better", tracking) == (2, 1)
    assert (alias(tracking, "champion"), alias(tracking, "previous")) == ("2", "1")
    tags = tracking.client.get_model_version("mdmt", "2").tags
    assert tags["mdmt.promoted.champion"].endswith(": better")
    assert promote("mdmt", 2, "champion", "again", tracking) == (2, 2)
    assert tracking.client.get_model_version("mdmt", "2").tags == tags


@pytest.mark.parametrize(("version", "why"), [(3, "golden case answers 0.2000 away"), (4, "MODEL_CARD.md was altered")])
def test_a_version_that_does_not_answer_as_registered_is_not_promoted(tracking: Tracking, version: int, why: str) -> None:
    promote("mdmt", 1, "champion", "known good", tracking)
    with pytest.raises(BundleError, match=why):
        promote("mdmt", version, "champion", "by hand", tracking)
    assert alias(tracking, "champion") == "1"


def test_without_a_version_the_newest_is_gated(tracking: Tracking) -> None:
    with pytest.raises(BundleError, match="altered"):
        promote("mdmt", None, "candidate", "newest", tracking)


def test_versions_and_names_that_do_not_exist_are_refused_with_those_that_do(tracking: Tracking) -> None:
    with pytest.raises(GateClosed, match="no version 9 of 'mdmt'; registered: 1, 2, 3, 4"):
        promote("mdmt", 9, "champion", "by hand", tracking)
    with pytest.raises(GateClosed, match="'nothing'; registered: none"):
        promote("nothing", None, "champion", "by hand", tracking)
