"""Coarse evidence, read for a question and laid back over the film."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr.cropping import Box
from cxr.evidence import over_film, questions, shares, speaking_for
from cxr.tasks import PROGNOSIS, SEVERITY, Task

PLACES = np.random.default_rng(0).random((4, 3, 3)).astype(np.float32) - 0.4


def test_the_label_is_asked_for_as_grad_cam_is_published() -> None:
    asked = questions(SEVERITY, 2, (0.1, 0.2, 0.5, 0.2))["label"]
    np.testing.assert_allclose(speaking_for(PLACES, asked), np.maximum(PLACES[2], 0), rtol=1e-6)


@given(st.lists(st.floats(-4, 4), min_size=4, max_size=4))
def test_what_raises_the_expected_class_is_its_gradient_by_the_logits(logits: list[float]) -> None:
    def expected(values: np.ndarray) -> float:
        odds = np.exp(values - values.max())
        return float(odds @ np.arange(4) / odds.sum())

    values = np.array(logits)
    odds = np.exp(values - values.max())
    asked = questions(SEVERITY, 0, tuple(odds / odds.sum()))["worse"]
    for i in range(4):
        step = np.eye(4)[i] * 1e-5
        assert asked[i] == pytest.approx((expected(values + step) - expected(values - step)) / 2e-5, abs=1e-6)


def test_worse_is_the_positive_class_of_two_and_nothing_without_an_order() -> None:
    asked = questions(PROGNOSIS, 0, (0.7, 0.3))["worse"]
    np.testing.assert_allclose(asked, [-0.21, 0.21], rtol=1e-9)
    plain = Task("device", "A device", ("a", "b", "c"), ("", "", ""))
    assert set(questions(plain, 0, (0.2, 0.3, 0.5))) == {"label"}


@given(st.integers(-20, 60), st.integers(-20, 60), st.integers(1, 90))
def test_the_map_lies_on_the_film_where_its_box_does(left: int, top: int, side: int) -> None:
    box, shape = Box(left, top, left + side, top + side), (50, 70)
    over = over_film(np.ones((2, 2), np.float32), box, shape)
    expected = np.zeros(shape, bool)
    expected[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = True
    np.testing.assert_array_equal(over > 0, expected)
    assert over.max() in (0, 1)


def test_a_place_stays_where_it_was_and_no_evidence_stays_none() -> None:
    corner = np.zeros((4, 4), np.float32)
    corner[0, 3] = 2
    over = over_film(corner, Box(10, 0, 50, 40), (40, 60))
    assert np.unravel_index(over.argmax(), over.shape)[0] < 10
    assert np.unravel_index(over.argmax(), over.shape)[1] >= 40
    assert shares(corner).sum() == 1
    assert (
        not shares(np.zeros((4, 4), np.float32)).any()
        and not over_film(np.zeros((4, 4), np.float32), Box(0, 0, 9, 9), (9, 9)).any()
    )
