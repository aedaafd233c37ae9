"""Intervals are those of a plain bootstrap over persons, and hold the true value as often as they say."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr.engine import softmax
from cxr.tasks import PROGNOSIS, SEVERITY, Task
from training.evaluation import bootstrap
from training.evaluation.bootstrap import CLASSWISE, METRICS, interval_of, intervals
from training.evaluation.metrics import Predictions, evaluate

TASKS = st.sampled_from([PROGNOSIS, SEVERITY])


def some_predictions(task: Task, seed: int, n: int, persons: int | None = None, signal: float = 1.0) -> Predictions:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(task.classes), n)
    probabilities = softmax(rng.normal(size=(n, len(task.classes))) + signal * np.eye(len(task.classes))[truth])
    patients = None if persons is None else rng.integers(0, persons, n)
    return Predictions(("f",) * n, truth, probabilities, patients)


def plain(task: Task, given_: Predictions, draws: int, level: float, seed: int) -> dict[str, tuple[float, float]]:
    """One draw after the other: persons drawn, their films collected, evaluated as any others."""
    numbers = np.arange(len(given_)) if given_.patients is None else given_.patients
    persons = [np.flatnonzero(numbers == person) for person in np.unique(numbers)]
    values: dict[str, list[float]] = {}
    for drawn in np.random.default_rng(seed).integers(0, len(persons), (draws, len(persons))):
        films = np.concatenate([persons[i] for i in drawn])
        figures = evaluate(task, Predictions(("f",) * len(films), given_.truth[films], given_.probabilities[films]))
        lost = set(given_.truth) != set(given_.truth[films])
        for name in METRICS:
            if name in figures and not (lost and name in CLASSWISE):
                values.setdefault(name, []).append(figures[name])
    ends = ((1 - level) / 2, (1 + level) / 2)
    return {name: (np.quantile(drawn, ends[0]), np.quantile(drawn, ends[1])) for name, drawn in values.items()}


@given(
    seed=st.integers(0, 2**32 - 1),
    task=TASKS,
    n=st.integers(1, 40),
    persons=st.one_of(st.none(), st.integers(1, 30)),
    level=st.sampled_from([0.5, 0.9, 0.95]),
)
@settings(max_examples=30, deadline=None)
def test_intervals_are_those_of_a_plain_bootstrap_over_persons(
    seed: int, task: Task, n: int, persons: int | None, level: float
) -> None:
    given_ = some_predictions(task, seed, n, persons)
    quick, slow = intervals(task, given_, 30, level, seed), plain(task, given_, 30, level, seed)
    assert set(quick) == set(slow)
    for name, ends in slow.items():
        assert quick[name] == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize(("task", "metrics"), [(PROGNOSIS, METRICS[:6]), (SEVERITY, METRICS)])
def test_every_metric_of_the_task_has_an_interval_around_its_figure(task: Task, metrics: tuple[str, ...]) -> None:
    given_ = some_predictions(task, 3, 300, 150)
    found, figures = intervals(task, given_), evaluate(task, given_)
    assert set(found) == set(metrics)
    assert all(low < figures[name] < high for name, (low, high) in found.items())


def test_the_true_accuracy_is_inside_as_often_as_the_level_says_if_persons_are_drawn() -> None:
    # 60 persons with four films each that are all right or all wrong: 240 films, but 60 observations. True accuracy 0.7.
    rng = np.random.default_rng(0)
    inside = {"persons": 0, "films": 0}
    for i in range(200):
        right = np.repeat(rng.random(60) < 0.7, 4)
        truth = np.arange(240) % 2
        probabilities = np.where((truth == right)[:, None], [0.1, 0.9], [0.9, 0.1])
        for unit, patients in (("persons", np.repeat(np.arange(60), 4)), ("films", None)):
            low, high = intervals(PROGNOSIS, Predictions(("f",) * 240, truth, probabilities, patients), 200, seed=i)["acc"]
            inside[unit] += low <= 0.7 <= high
    assert 0.90 <= inside["persons"] / 200 <= 0.98
    assert inside["films"] / 200 < 0.80, "films of one person are no independent evidence"


def test_intervals_repeat_to_the_bit_and_depend_on_the_seed() -> None:
    given_ = some_predictions(SEVERITY, 1, 80, 40)
    assert intervals(SEVERITY, given_, seed=5) == intervals(SEVERITY, given_, seed=5) != intervals(SEVERITY, given_, seed=6)


def test_blocks_that_save_memory_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    given_ = some_predictions(SEVERITY, 1, 80, 37)
    whole = intervals(SEVERITY, given_, 100)
    monkeypatch.setattr(bootstrap, "_BLOCK", 700)
    assert intervals(SEVERITY, given_, 100) == whole


def test_numbers_of_persons_may_have_gaps() -> None:
    given_ = some_predictions(PROGNOSIS, 2, 50, 20)
    assert given_.patients is not None
    spread = Predictions(given_.films, given_.truth, given_.probabilities, given_.patients * 1000 + 7)
    assert intervals(PROGNOSIS, spread, 50) == intervals(PROGNOSIS, given_, 50)


def test_films_of_one_class_have_no_auc_and_one_person_gives_no_width() -> None:
    given_ = Predictions(("a", "b"), np.array([1, 1]), np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([0, 0]))
    found = intervals(PROGNOSIS, given_, 50)
    assert found["acc"] == (0.5, 0.5) and "auc" not in found


def test_a_centre_of_970_films_takes_well_under_a_second() -> None:
    given_ = some_predictions(SEVERITY, 0, 970, 800)
    start = time.perf_counter()
    intervals(SEVERITY, given_)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(("n", "draws", "level"), [(0, 10, 0.9), (5, 0, 0.9), (5, 10, 0), (5, 10, 95)])
def test_what_cannot_be_drawn_is_refused(n: int, draws: int, level: float) -> None:
    with pytest.raises(ValueError, match=f"found {n} films, {draws} draws, level {level}"):
        intervals(PROGNOSIS, some_predictions(PROGNOSIS, 0, n), draws, level)


def test_the_interval_of_a_mean_is_that_of_the_normal_law_and_wider_where_films_share_persons() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = interval_of(list(values), [str(i) for i in range(400)], np.mean, draws=2000)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)
    twins = interval_of([*values, *values], [str(i) for i in range(400)] * 2, np.mean, draws=2000)
    assert twins == pytest.approx((low, high), abs=1e-9)  # a person's second film, equal to the first, tells nothing
    with pytest.raises(ValueError, match="no values"):
        interval_of([], [], np.mean)
