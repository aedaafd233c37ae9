"""Frontal adult chests pass; what is turned, inverted or no chest is refused with its reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cxr.errors import NotFrontalChest
from cxr.gate import REMEDIES, Gate, GateModel
from cxr.measures import NAMES, measure
from cxr.radiograph import Radiograph
from tests.cxr.chests import chest, gate_model, seen

NEW = range(1_000, 1_060)  # seeds of films that the gate was not fitted to


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate(gate_model())


def refusal(gate: Gate, gray: np.ndarray) -> NotFrontalChest:
    with pytest.raises(NotFrontalChest) as refused:
        gate.check(seen(gray), seen)
    return refused.value


def test_films_like_those_of_training_pass_with_a_score_well_below_one(gate: Gate) -> None:
    scores = [gate.score(measure(seen(chest(seed)))) for seed in NEW]
    assert np.mean(np.array(scores) <= gate_model().threshold) >= 0.95
    assert 0.2 < np.median(scores) < 0.9


@pytest.mark.parametrize(
    ("reason", "turn"),
    [
        ("inverted", lambda gray: 255 - gray),
        ("upside-down", lambda gray: np.rot90(gray, 2)),
        ("rotated-left", lambda gray: np.rot90(gray, 1)),
        ("rotated-right", lambda gray: np.rot90(gray, -1)),
        ("mirrored-upside-down", np.flipud),
    ],
)
def test_a_turned_or_inverted_film_is_refused_with_what_would_make_it_pass(gate: Gate, reason: str, turn) -> None:  # type: ignore[no-untyped-def]
    refused = refusal(gate, np.ascontiguousarray(turn(chest(1_001))))
    assert refused.reason == reason and refused.code == "not-a-frontal-chest"


@pytest.mark.parametrize("name", ["one ellipse", "stripes", "corner of a film"])
def test_what_is_no_chest_is_refused_and_told_what_is_unusual(gate: Gate, name: str) -> None:
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    picture = {
        "one ellipse": np.where(x**2 + y**2 < 0.3, 30, 200),
        "stripes": 120 + 100 * np.sin(20 * x),
        "corner of a film": chest(3, 400, 400)[:200, :200],
    }[name].astype(np.uint8)
    refused = refusal(gate, picture)
    assert refused.reason == "unlike-training"
    assert refused.score is None or refused.score > refused.threshold
    assert any(measure_name in str(refused) for measure_name in NAMES) or refused.score is None


def test_a_picture_without_lungs_that_no_turn_brings_to_light_is_left_to_the_verdict(gate: Gate) -> None:
    assert gate.check(seen(np.full((100, 100), 130, np.uint8)), seen) is None


def test_a_gate_without_a_model_judges_no_picture() -> None:
    assert Gate().check(seen(255 - chest(1)), seen) is None


@pytest.mark.parametrize(
    ("told", "reason"),
    [({"view": "LL"}, "view"), ({"view": "RAO"}, "view"), ({"chest": False}, "body-part"), ({"adult": False}, "age")],
)
def test_what_the_tags_rule_out_is_refused_without_a_model_too(told: dict[str, object], reason: str) -> None:
    with pytest.raises(NotFrontalChest) as refused:
        Gate().check_tags(Radiograph(np.zeros((64, 64), np.float32), 8, "dicom", "MONOCHROME2", **told))  # type: ignore[arg-type]
    assert (refused.value.reason, refused.value.score) == (reason, None)


@pytest.mark.parametrize("view", [None, "AP", "PA"])
def test_silent_tags_and_frontal_views_of_adults_pass(view: str | None) -> None:
    for known in (None, True):
        Gate().check_tags(
            Radiograph(np.zeros((64, 64), np.float32), 8, "dicom", "MONOCHROME2", view=view, chest=known, adult=known)
        )


def test_a_gate_survives_being_written_and_read(gate: Gate) -> None:
    again = Gate(GateModel.model_validate_json(gate_model().model_dump_json()))
    measured = measure(seen(chest(7)))
    assert again.score(measured) == gate.score(measured)


@pytest.mark.parametrize(
    "change",
    [
        {"centre": (0.0,)},
        {"scale": (0.0,) * len(NAMES)},
        {"precision": ((float("nan"),) * len(NAMES),) * len(NAMES)},
        {"more": 1},
    ],
)
def test_numbers_that_are_no_gate_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GateModel.model_validate(gate_model().model_dump() | change)


def test_a_gate_of_other_measures_is_refused() -> None:
    with pytest.raises(ValueError, match="revision 0"):
        Gate(gate_model().model_copy(update={"revision": 0}))


def test_every_remedy_undoes_what_it_is_named_after() -> None:
    gray = chest(5)
    undone = {"inverted": 255 - gray, "upside-down": np.rot90(gray, 2), "rotated-left": np.rot90(gray, 1),
              "rotated-right": np.rot90(gray, -1), "mirrored-upside-down": gray[::-1]}  # fmt: skip
    for name, remedy in REMEDIES.items():
        np.testing.assert_array_equal(remedy(undone[name]), gray)


@given(st.integers(0, 2**32 - 1), st.sampled_from([64, 90, 257, 600]), st.sampled_from([64, 150, 900]))
@settings(max_examples=25, deadline=None)
def test_any_mask_on_any_picture_gives_finite_measures(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    gray = rng.integers(0, rng.integers(1, 257), (height, width), dtype=np.uint8)
    lungs = np.zeros((256, 256), bool)
    top, left = rng.integers(0, 255, 2)
    lungs[top : top + rng.integers(1, 200), left : left + rng.integers(1, 200)] = True
    measured = measure(seen(gray)._replace(lungs=lungs))
    assert all(np.isfinite(part).all() for part in measured)
    assert len(measured.numbers) + 4 == len(NAMES)
