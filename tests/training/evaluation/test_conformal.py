"""A set holds the truth as often as promised, for every class; what cannot be promised is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr.engine import softmax
from cxr.tasks import PROGNOSIS, SEVERITY, Task
from training.evaluation.conformal import abstained, conformal_figures, prediction_sets, thresholds

SHARES = {"prognosis": (0.95, 0.05), "severity": (0.5, 0.3, 0.15, 0.05)}


def films(task: Task, n: int, rng: np.random.Generator, signal: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (n, C) that know something of the truth, and the truth; the last class is rare."""
    truth = rng.choice(len(task.classes), n, p=SHARES[task.name])
    return softmax(rng.normal(size=(n, len(task.classes))) + signal * np.eye(len(task.classes))[truth]), truth


@pytest.mark.parametrize("task", [PROGNOSIS, SEVERITY])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_every_class_is_covered_as_often_as_promised_also_a_rare_one(task: Task, alpha: float) -> None:
    # 100 times 2,000 films: with the 100 films of a class of 5 % a single coverage strays by 3 to 6 points, the mean of 100 does not
    rng = np.random.default_rng(7)
    rounds = [conformal_figures(task, *films(task, 2000, rng), *films(task, 2000, rng), alpha) for _ in range(100)]
    for name in task.classes:
        covered = np.mean([figures[f"coverage_{name.lower()}"] for figures in rounds])
        assert 1 - alpha - 0.02 < covered < 1 - alpha + 0.02


def test_one_study_of_many_films_is_covered_within_two_points() -> None:
    rng = np.random.default_rng(0)
    figures = conformal_figures(PROGNOSIS, *films(PROGNOSIS, 60_000, rng), *films(PROGNOSIS, 60_000, rng))
    assert [figures["coverage_mild"], figures["coverage_severe"]] == pytest.approx([0.9, 0.9], abs=0.02)


def test_the_threshold_is_the_ninth_worst_of_nine_scores_and_none_with_eight() -> None:
    # alpha 0.1: k = ceil(10 · 0.9) = 9 of 9 films, ceil(9 · 0.9) = 9 of 8 films
    mild = np.linspace(0.5, 0.9, 9)
    probabilities, truth = np.stack([mild, 1 - mild], axis=1), np.zeros(9, dtype=np.int64)
    assert thresholds(probabilities, truth).tolist() == pytest.approx([0.5, np.inf])
    assert thresholds(probabilities[:8], truth[:8]).tolist() == [np.inf, np.inf]
    # alpha 0.7: k = ceil(10 · 0.3) = 3, which floating point would make 4 (1 - 0.7 is 0.30000000000000004)
    assert thresholds(probabilities, truth, 0.7)[0] == pytest.approx(1 - mild[-3])


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 8))
@settings(max_examples=30, deadline=None)
def test_a_class_with_too_few_validation_films_is_in_every_set(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.array([0] * 40 + [1] * n)
    limits = thresholds(softmax(rng.normal(size=(len(truth), 2))), truth)
    assert prediction_sets(softmax(5 * rng.normal(size=(50, 2))), limits)[:, 1].all()


@given(seed=st.integers(0, 2**32 - 1), low=st.floats(0.01, 0.5), more=st.floats(0, 0.4))
@settings(max_examples=40, deadline=None)
def test_who_allows_more_errors_gets_sets_within_the_larger_ones(seed: int, low: float, more: float) -> None:
    rng = np.random.default_rng(seed)
    val, truth = films(SEVERITY, 200, rng)
    test, _ = films(SEVERITY, 50, rng)
    large, small = (prediction_sets(test, thresholds(val, truth, alpha)) for alpha in (low, low + more))
    assert (small <= large).all()


def test_only_a_single_class_is_an_answer() -> None:
    sets = np.array([[True, False], [True, True], [False, False], [False, True]])
    assert abstained(sets).tolist() == [False, True, True, False]


def test_figures_of_a_case_worked_out_by_hand() -> None:
    # Nine films of each class with probability 0.6 of the truth: both thresholds are 0.4, so a class is in the set from 0.6 up.
    val = np.repeat([[0.6, 0.4], [0.4, 0.6]], 9, axis=0)
    val_truth = np.repeat([0, 1], 9)
    # Sets: {mild} right, {severe} wrong, empty, {severe} right and just at the threshold
    test = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.4, 0.6]])
    figures = conformal_figures(PROGNOSIS, val, val_truth, test, np.array([0, 0, 0, 1]))
    expected = {"coverage_mild": 1 / 3, "coverage_severe": 1.0, "abstained": 1 / 4, "set_size": 3 / 4, "acc_answered": 2 / 3}
    assert figures == pytest.approx(expected)


def test_what_has_no_films_has_no_figure() -> None:
    few = np.full((3, 2), 0.5)
    figures = conformal_figures(PROGNOSIS, few, np.array([0, 1, 1]), few, np.zeros(3, dtype=np.int64))
    assert figures == {"coverage_mild": 1.0, "abstained": 1.0, "set_size": 2.0}, "no SEVERE film, and nothing was answered"


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 10, float("nan")])
def test_an_alpha_that_is_no_error_rate_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        thresholds(np.full((3, 2), 0.5), np.array([0, 1, 1]), alpha)


def test_no_test_films_are_refused() -> None:
    with pytest.raises(ValueError, match="'prognosis' has 0 test films"):
        conformal_figures(PROGNOSIS, np.full((3, 2), 0.5), np.array([0, 1, 1]), np.zeros((0, 2)), np.zeros(0, dtype=np.int64))
