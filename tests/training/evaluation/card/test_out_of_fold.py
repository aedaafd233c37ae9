"""What calibrates the served network: answers to films that the network answering had not seen, each film once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr.engine import softmax
from cxr.tasks import PROGNOSIS, SEVERITY, Task
from tests.training.evaluation.card import facts
from training.evaluation.calibration import fit_temperature
from training.evaluation.card import Judged
from training.evaluation.card.out_of_fold import as_served, out_of_fold
from training.evaluation.conformal import conformal_figures
from training.evaluation.metrics import Predictions, pooled

Fold = tuple[NDArray[np.float64], NDArray[np.int64]]  # probabilities (N, C) and truth (N,)


def judged(task: Task, folds: Sequence[Fold], films: str = "", patients: Sequence[int] | None = None) -> Judged:
    """`films` has a letter per film, `patients` a number; without them every film is another one, of another patient."""
    model, results, first = facts.two_centres().folds[0], [], 0
    for number, (probabilities, truth) in enumerate(folds):
        names = tuple(films[first : first + len(truth)]) or tuple(f"film-{first + i}" for i in range(len(truth)))
        results.append(replace(model, fold=f"cv-{number}", task=task.name, test=Predictions(names, truth, probabilities)))
        first += len(truth)
    whole = pooled([result.answers() for result in results])
    whole = replace(whole, patients=np.arange(first) if patients is None else np.array(patients))
    return Judged(task, tuple(results), whole, whole, tuple({} for _ in range(first)))


def fold(task: Task, seed: int, truth: Sequence[int]) -> Fold:
    """Answers that know something of the truth."""
    classes = np.eye(len(task.classes))[list(truth)]
    return softmax(np.random.default_rng(seed).normal(size=classes.shape) + 2 * classes), np.array(truth)


def test_every_film_calibrates_once_however_many_folds_tested_it() -> None:
    first, second = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.5, 0.5], [0.6, 0.4]])
    truth = np.array([0, 1])
    logits, answers = out_of_fold(judged(PROGNOSIS, [(first, truth), (second, truth)], films="abbc"))
    assert softmax(logits) == pytest.approx(np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    assert answers.tolist() == [0, 1, 1]


@given(seed=st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_of_two_folds_each_is_calibrated_by_the_other(seed: int) -> None:
    truth = [0] * 12 + [1] * 12 + [2] * 12 + [3] * 4
    one, two = fold(SEVERITY, seed, truth), fold(SEVERITY, seed + 1, truth)
    both_ways = [_by_the_other(one, two), _by_the_other(two, one)]
    found = as_served(judged(SEVERITY, [one, two]))
    for figure in ("set_size", "abstained", *(f"coverage_{name}" for name in SEVERITY.classes)):
        assert found[figure] == pytest.approx(np.mean([way[figure] for way in both_ways]))


def _by_the_other(other: Fold, tested: Fold) -> dict[str, float]:
    temperature = fit_temperature(np.log(other[0]), other[1])
    by, shown = (softmax(np.log(probabilities), temperature) for probabilities, _ in (other, tested))
    return conformal_figures(SEVERITY, by, other[1], shown, tested[1])


def test_a_class_too_rare_for_any_fold_has_a_limit_from_all_of_them() -> None:
    """Two films of the worst class in each fold: in every set, were a fold alone to decide."""
    folds = [fold(SEVERITY, seed, [0] * 8 + [1] * 8 + [2] * 8 + [3] * 3) for seed in range(5)]
    probabilities, truth = folds[0]
    assert conformal_figures(SEVERITY, probabilities, truth, probabilities, truth)["abstained"] == 1
    assert as_served(judged(SEVERITY, folds))["abstained"] < 0.9


def test_no_film_is_calibrated_by_another_of_its_patient() -> None:
    """The first fold's patients are all in the second as well, so nothing is left to calibrate by."""
    one, two = fold(PROGNOSIS, 0, [0, 1] * 5), fold(PROGNOSIS, 1, [0, 1] * 5)
    assert as_served(judged(PROGNOSIS, [one, two])) != {}
    assert as_served(judged(PROGNOSIS, [one, two], patients=[*range(10), *range(10)])) == {}


def test_a_single_fold_has_nobody_to_be_calibrated_by() -> None:
    assert as_served(judged(PROGNOSIS, [fold(PROGNOSIS, 0, [0, 1] * 5)])) == {}


def test_what_was_promised_is_held_on_films_nobody_calibrated_by() -> None:
    figures = as_served(judged(PROGNOSIS, [fold(PROGNOSIS, seed, [0] * 1500 + [1] * 500) for seed in range(5)]))
    assert [figures["coverage_mild"], figures["coverage_severe"]] == pytest.approx([0.9, 0.9], abs=0.02)
    assert figures["ece_calibrated"] < figures["ece"] and figures["brier_calibrated"] < figures["brier"]
