"""One temperature per task: it is found again where it is known, and moves no label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr.engine import softmax
from training.evaluation.calibration import BOUNDS, fit_temperature, negative_log_likelihood
from training.evaluation.metrics import expected_calibration_error


def logits_of_temperature(temperature: float, n: int, classes: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits whose truth was drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes)) * temperature
    cumulative = softmax(logits, temperature).cumsum(axis=1)
    truth = np.minimum((rng.random((n, 1)) > cumulative).sum(axis=1), classes - 1)
    return logits, truth


@given(temperature=st.floats(0.3, 6), classes=st.integers(2, 4), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_known_temperature_is_found_again(temperature: float, classes: int, seed: int) -> None:
    logits, truth = logits_of_temperature(temperature, 4000, classes, seed)
    assert fit_temperature(logits, truth) == pytest.approx(temperature, rel=0.15)


def test_an_overconfident_network_is_calibrated() -> None:
    logits, truth = logits_of_temperature(4.0, 4000, 4, 0)
    before = expected_calibration_error(truth, softmax(logits))
    after = expected_calibration_error(truth, softmax(logits, fit_temperature(logits, truth)))
    assert before > 0.2 and after < 0.03


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), classes=st.integers(2, 4), spread=st.floats(0.01, 50))
@settings(max_examples=40, deadline=None)
def test_any_films_give_a_temperature_within_bounds_that_moves_no_label_and_is_no_worse_than_none(
    seed: int, n: int, classes: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    logits, truth = rng.normal(0, spread, (n, classes)), rng.integers(0, classes, n)
    temperature = fit_temperature(logits, truth)
    assert BOUNDS[0] <= temperature <= BOUNDS[1]
    np.testing.assert_array_equal(softmax(logits, temperature).argmax(axis=1), logits.argmax(axis=1))
    assert negative_log_likelihood(logits, truth, temperature) <= negative_log_likelihood(logits, truth, 1.0) + 1e-3


def test_without_films_there_is_no_temperature() -> None:
    with pytest.raises(ValueError, match="nothing to calibrate on"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
