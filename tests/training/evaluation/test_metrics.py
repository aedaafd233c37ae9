"""Every figure against an implementation that is not ours, or against a case worked out by hand."""

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.metrics import geometric_mean_score
from numpy.typing import NDArray
from sklearn import metrics as oracle

from cxr.tasks import PROGNOSIS, SEVERITY, Task
from training.evaluation.bootstrap import intervals
from training.evaluation.metrics import (
    HEADLINE,
    Predictions,
    auc,
    confusion,
    evaluate,
    expected_calibration_error,
    films_of,
    from_counts,
    gmean,
    mean_and_sd,
    pooled,
)

TASKS = st.sampled_from([PROGNOSIS, SEVERITY])


def random_predictions(task: Task, seed: int, n: int = 60, signal: float = 1.0) -> Predictions:
    """Every class occurs; the probabilities know something of the truth."""
    rng = np.random.default_rng(seed)
    classes = len(task.classes)
    truth = rng.permutation(np.arange(n) % classes)
    logits = rng.normal(size=(n, classes)) + signal * np.eye(classes)[truth]
    odds = np.exp(logits)
    return Predictions(tuple(f"f{i}" for i in range(n)), truth, odds / odds.sum(axis=1, keepdims=True))


def certain(truth: list[int], predicted: list[int], classes: int = 2, confidence: float = 0.9) -> Predictions:
    probabilities = np.full((len(truth), classes), (1 - confidence) / (classes - 1))
    probabilities[np.arange(len(truth)), predicted] = confidence
    return Predictions(tuple(map(str, range(len(truth)))), np.array(truth), probabilities)


@given(seed=st.integers(0, 2**32 - 1), task=TASKS, signal=st.floats(-1, 4))
@settings(max_examples=60, deadline=None)
def test_figures_are_those_of_scikit_learn_and_imbalanced_learn(seed: int, task: Task, signal: float) -> None:
    given_ = random_predictions(task, seed, signal=signal)
    truth, predicted = given_.truth, given_.probabilities.argmax(axis=1)
    figures = evaluate(task, given_)
    average = "binary" if task is PROGNOSIS else "macro"
    scores = given_.probabilities[:, 1] if task is PROGNOSIS else given_.probabilities
    expected = {
        "acc": oracle.accuracy_score(truth, predicted),
        "f1": oracle.f1_score(truth, predicted, average=average, zero_division=0),
        "f1_macro": oracle.f1_score(truth, predicted, average="macro", zero_division=0),
        "gmean": geometric_mean_score(truth, predicted, average="multiclass"),
        "balanced_acc": oracle.balanced_accuracy_score(truth, predicted),
        "auc": oracle.roc_auc_score(truth, scores, multi_class="ovr"),
        "brier": oracle.brier_score_loss(truth, given_.probabilities, labels=range(len(task.classes)), scale_by_half=False),
        "n": 60,
    }
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    assert set(HEADLINE) <= set(figures)
    recalls = oracle.recall_score(truth, predicted, average=None, zero_division=0)
    assert [figures[f"recall_{name.lower()}"] for name in task.classes] == pytest.approx(recalls.tolist())
    assert all(0 <= value <= 1 for name, value in figures.items() if name not in ("n", "brier", "kappa", "mae"))
    np.testing.assert_array_equal(confusion(task, given_), oracle.confusion_matrix(truth, predicted))


def test_f1_of_prognosis_is_of_severe_with_severe_as_index_one() -> None:
    # 3 severe, 2 found; 5 mild, 1 called severe: precision 2/3, recall 2/3
    figures = evaluate(PROGNOSIS, certain([1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0, 0]))
    assert figures["f1"] == pytest.approx(2 / 3)
    assert figures["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert figures["gmean"] == pytest.approx(np.sqrt(2 / 3 * 4 / 5))
    assert (figures["recall_severe"], figures["recall_mild"]) == pytest.approx((2 / 3, 4 / 5))


def test_a_network_that_always_answers_one_class_has_no_gmean() -> None:
    assert evaluate(PROGNOSIS, certain([0, 0, 0, 1], [0, 0, 0, 0]))["gmean"] == 0
    assert evaluate(PROGNOSIS, certain([0, 0, 0, 1], [0, 0, 0, 0]))["acc"] == 0.75


@given(seed=st.integers(0, 2**32 - 1), signal=st.floats(-1, 4))
@settings(max_examples=40, deadline=None)
def test_an_ordinal_task_has_the_kappa_and_the_mean_error_of_scikit_learn(seed: int, signal: float) -> None:
    given_ = random_predictions(SEVERITY, seed, signal=signal)
    predicted = given_.probabilities.argmax(axis=1)
    figures = evaluate(SEVERITY, given_)
    assert figures["kappa"] == pytest.approx(oracle.cohen_kappa_score(given_.truth, predicted, weights="quadratic"), abs=1e-12)
    assert figures["mae"] == pytest.approx(oracle.mean_absolute_error(given_.truth, predicted))


def test_kappa_and_mean_error_of_a_case_worked_out_by_hand() -> None:
    # true 0 0 3 3, answered 0 1 3 1. Distances 0 1 0 2: mae 3/4, squares sum to 5.
    # By chance: true 0 (2) and 3 (2) against answers 0 (1), 1 (2), 3 (1), over 4 films:
    # (2·1·0 + 2·2·1 + 2·1·9 + 2·1·9 + 2·2·4 + 2·1·0) / 4 = 56 / 4 = 14. kappa = 1 - 5/14 = 9/14
    figures = evaluate(SEVERITY, certain([0, 0, 3, 3], [0, 1, 3, 1], classes=4))
    assert figures["mae"] == pytest.approx(3 / 4)
    assert figures["kappa"] == pytest.approx(9 / 14)


def test_a_task_without_order_has_neither_kappa_nor_mean_error() -> None:
    assert not {"kappa", "mae"} & set(evaluate(PROGNOSIS, random_predictions(PROGNOSIS, 0)))


def test_kappa_is_left_out_where_one_class_is_all_there_is() -> None:
    figures = evaluate(SEVERITY, certain([2, 2, 2], [2, 2, 2], classes=4))
    assert "kappa" not in figures and figures["mae"] == 0
    assert evaluate(SEVERITY, certain([2, 2, 2], [1, 1, 1], classes=4))["kappa"] == 0, "no agreement beyond chance"
    assert evaluate(SEVERITY, certain([0, 1, 2, 3], [1, 1, 1, 1], classes=4))["kappa"] == 0


@given(data=st.data(), task=TASKS, n=st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_whichever_classes_are_absent_or_answered_nothing_warns_and_every_figure_is_finite(
    data: st.DataObject, task: Task, n: int
) -> None:
    some = st.lists(st.integers(0, len(task.classes) - 1), min_size=n, max_size=n)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = evaluate(task, certain(data.draw(some), data.draw(some), len(task.classes)))
    assert np.isfinite(list(figures.values())).all()
    assert {"acc", "f1", "f1_macro", "gmean", "balanced_acc", "ece", "brier", "n"} <= set(figures)


def test_no_films_are_refused() -> None:
    with pytest.raises(ValueError, match="'severity' has 0 films"):
        evaluate(SEVERITY, certain([], [], 4))


@given(seed=st.integers(0, 2**32 - 1), task=TASKS, steps=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_auc_counts_equal_scores_half(seed: int, task: Task, steps: int) -> None:
    rng = np.random.default_rng(seed)
    classes = len(task.classes)
    truth, scores = np.arange(40) % classes, np.round(rng.random((40, classes)) * steps) / steps
    hit = [PROGNOSIS.positive] if task is PROGNOSIS else range(classes)
    expected = np.mean([oracle.roc_auc_score(truth == i, scores[:, i]) for i in hit])
    assert float(auc(task, truth, scores)) == pytest.approx(expected)


@given(seed=st.integers(0, 2**32 - 1), task=TASKS)
@settings(max_examples=30, deadline=None)
def test_a_film_that_counts_k_times_is_as_k_films_also_with_many_weightings_at_once(seed: int, task: Task) -> None:
    given_ = random_predictions(task, seed, n=24)
    often = np.random.default_rng(seed).integers(0, 3, (5, 24))
    often[:, np.unique(given_.truth, return_index=True)[1]] = 1  # every class occurs
    answers = auc(task, given_.truth, given_.probabilities, often.astype(float))
    stacked, expected = [], []
    for row in often:
        films = np.repeat(np.arange(24), row)
        repeated = Predictions(("f",) * len(films), given_.truth[films], given_.probabilities[films])
        stacked.append(confusion(task, repeated))
        expected.append(evaluate(task, repeated))
    assert answers.tolist() == pytest.approx([one["auc"] for one in expected])
    for name, values in from_counts(task, np.array(stacked)).items():
        assert values.tolist() == pytest.approx([one[name] for one in expected])


def test_a_unit_is_evaluated_in_a_few_milliseconds() -> None:
    given_ = random_predictions(SEVERITY, 0, n=970)
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        evaluate(SEVERITY, given_)
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.015


@pytest.mark.parametrize(("task", "truth"), [(PROGNOSIS, [1, 1, 1]), (PROGNOSIS, [0, 0, 0]), (SEVERITY, [0, 1, 2])])
def test_auc_is_left_out_where_a_class_does_not_occur(task: Task, truth: list[int]) -> None:
    figures = evaluate(task, certain(truth, truth, len(task.classes)))
    assert "auc" not in figures
    missing = {f"recall_{name.lower()}" for i, name in enumerate(task.classes) if i not in truth}
    assert missing and not missing & set(figures)
    assert figures["gmean"] == figures["acc"] == 1, "a class without films must not count as missed"


@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_gmean_is_that_of_imbalanced_learn_over_the_classes_that_occur(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, classes, 20), rng.integers(0, classes, 20)
    expected = geometric_mean_score(truth, predicted, labels=np.unique(truth), average="multiclass")
    assert gmean(truth, predicted) == pytest.approx(expected, abs=1e-12)


def test_perfect_predictions_have_no_calibration_error_and_overconfident_ones_have_the_gap() -> None:
    sure = certain([0, 1, 0, 1], [0, 1, 0, 1], confidence=1.0)
    assert expected_calibration_error(sure.truth, sure.probabilities) == 0
    half_right = certain([0, 1, 0, 1], [0, 1, 1, 0], confidence=0.99)
    assert expected_calibration_error(half_right.truth, half_right.probabilities) == pytest.approx(0.49)
    honest = certain([0] * 10, [0] * 7 + [1] * 3, confidence=0.7)
    assert expected_calibration_error(honest.truth, honest.probabilities) == pytest.approx(0, abs=1e-9)


def test_calibration_errors_of_different_bins_do_not_cancel() -> None:
    timid, bold = certain([0] * 5, [0] * 5, confidence=0.6), certain([1] * 5, [0] * 5, confidence=0.9)
    both = pooled([timid, bold])
    assert expected_calibration_error(both.truth, both.probabilities) == pytest.approx((0.4 + 0.9) / 2)


@given(seed=st.integers(0, 2**32 - 1), bins=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_calibration_error_is_the_definition_written_out(seed: int, bins: int) -> None:
    given_ = random_predictions(SEVERITY, seed)
    confidence, right = given_.probabilities.max(axis=1), given_.probabilities.argmax(axis=1) == given_.truth
    expected = 0.0
    for b in range(bins):
        inside: NDArray[np.bool_] = (confidence >= b / bins) & (confidence < (b + 1) / bins)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert expected_calibration_error(given_.truth, given_.probabilities, bins) == pytest.approx(expected)


def test_pooling_keeps_every_film_with_its_own_answer() -> None:
    parts = [random_predictions(SEVERITY, seed, n) for seed, n in ((0, 8), (1, 12))]
    together = pooled(parts)
    assert films_of(parts) == 12  # the names are the same
    assert len(together) == 20 and together.films == parts[0].films + parts[1].films
    np.testing.assert_array_equal(together.truth[8:], parts[1].truth)
    np.testing.assert_array_equal(together.probabilities[8:], parts[1].probabilities)


def of_persons(patients: list[int] | None, n: int, part: int = 0) -> Predictions:
    given_ = random_predictions(PROGNOSIS, n, n)
    return Predictions(
        tuple(f"{part}{film}" for film in given_.films),
        given_.truth,
        given_.probabilities,
        None if patients is None else np.array(patients),
    )


def test_pooling_keeps_persons_together_and_those_of_different_folds_apart() -> None:
    together = pooled([of_persons([0, 0, 1], 3), of_persons([1, 0, 1, 2], 4, 1)])
    assert together.patients is not None and together.patients.tolist() == [0, 0, 1, 3, 2, 3, 4]


def test_pooling_counts_one_person_per_film_where_persons_are_not_known() -> None:
    together = pooled([of_persons([0, 0], 2), of_persons(None, 3, 1), of_persons([0, 0], 2, 2)])
    assert together.patients is not None and together.patients.tolist() == [0, 0, 1, 2, 3, 4, 4]
    assert pooled([of_persons(None, 2), of_persons(None, 3, 1)]).patients is None


@given(numbers=st.lists(st.lists(st.integers(0, 6), min_size=2, max_size=8), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_two_pooled_films_are_of_one_person_only_if_they_were_in_one_part(numbers: list[list[int]]) -> None:
    together = pooled([of_persons(own, len(own), part) for part, own in enumerate(numbers)])
    persons = [(part, person) for part, own in enumerate(numbers) for person in own]
    assert together.patients is not None
    same = together.patients[:, None] == together.patients
    assert same.tolist() == [[a == b for b in persons] for a in persons]


def test_people_whose_films_every_fold_tests_are_the_same_people() -> None:
    folds = [of_persons([0, 0, 1, 2], 4), of_persons([5, 5, 3, 1], 4), of_persons(None, 4)]
    together = pooled(folds)
    assert together.patients is not None and together.patients.tolist() == [0, 0, 1, 2] * 3
    assert films_of(folds) == 4
    assert pooled([of_persons(None, 3)] * 2).patients.tolist() == [0, 1, 2] * 2  # type: ignore[union-attr]
    assert films_of([of_persons(None, 3), of_persons(None, 3, 1)]) == 6


def test_the_interval_of_films_that_six_folds_test_is_that_of_the_films_once() -> None:
    once = of_persons(None, 60)
    alone, six = (intervals(PROGNOSIS, given, draws=200)["acc"] for given in (once, pooled([once] * 6)))
    assert np.ptp(six) == pytest.approx(np.ptp(alone), rel=0.25)


def test_sd_over_folds_is_the_samples() -> None:
    assert mean_and_sd([1.0, 2.0, 3.0, 4.0]) == pytest.approx((2.5, np.sqrt(5 / 3)))
    assert mean_and_sd([0.7]) == (0.7, 0.0)
