"""One temperature per task: it is found again where it is known, and moves no label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr.engine import softmax
from cxr.tasks import PROGNOSIS, SEVERITY, Task
from training.evaluation.calibration import BOUNDS, calibrated_figures, fit_temperature, negative_log_likelihood
from training.evaluation.metrics import Predictions, evaluate, expected_calibration_error


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
    logits, truth = logits_of_temperature(temperature, 20_000, classes, seed)
    assert fit_temperature(logits, truth) == pytest.approx(temperature, rel=0.05)


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


@pytest.mark.parametrize("task", [PROGNOSIS, SEVERITY])
def test_calibrated_figures_are_of_the_test_films_at_the_temperature_of_the_validation_films(task: Task) -> None:
    val_logits, val_truth = logits_of_temperature(3.0, 4000, len(task.classes), 1)
    logits, truth = logits_of_temperature(3.0, 4000, len(task.classes), 2)
    figures = calibrated_figures(task, val_logits, val_truth, logits, truth)
    temperature = figures["temperature"]
    assert temperature == fit_temperature(val_logits, val_truth) != fit_temperature(logits, truth)
    plain, calibrated = (evaluate(task, Predictions(("f",) * len(truth), truth, softmax(logits, t))) for t in (1.0, temperature))
    assert figures["ece_calibrated"] == calibrated["ece"] < plain["ece"]
    assert figures["brier_calibrated"] == calibrated["brier"] < plain["brier"]
    assert figures["nll"] == negative_log_likelihood(logits, truth, 1.0)
    assert figures["nll_calibrated"] == negative_log_likelihood(logits, truth, temperature) < figures["nll"]
    assert calibrated["acc"] == plain["acc"], "labels never move"


def test_a_certain_network_that_is_right_is_not_punished() -> None:
    logits, truth = np.array([[9.0, -9.0], [-9.0, 9.0]]), np.array([0, 1])
    figures = calibrated_figures(PROGNOSIS, logits, truth, logits, truth)
    assert BOUNDS[0] <= figures.pop("temperature") <= BOUNDS[1]
    expected = {"ece_calibrated": 0, "brier_calibrated": 0, "nll": 0, "nll_calibrated": 0}
    assert figures == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("validation", "test", "complaint"),
    [
        ((0, 2), (5, 2), r"validation logits are \(0, 2\) for 0 labels"),
        ((5, 2), (0, 2), r"test logits are \(0, 2\) for 0 labels"),
        ((5, 4), (5, 4), r"validation logits are \(5, 4\) for 5 labels; allowed: one row per label, 2 columns"),
    ],
)
def test_parts_without_films_or_with_other_classes_are_refused(
    validation: tuple[int, int], test: tuple[int, int], complaint: str
) -> None:
    parts = [(np.zeros(shape), np.zeros(shape[0], dtype=np.int64)) for shape in (validation, test)]
    with pytest.raises(ValueError, match=complaint):
        calibrated_figures(PROGNOSIS, *parts[0], *parts[1])
