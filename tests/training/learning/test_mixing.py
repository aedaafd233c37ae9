"""Which films meet in a batch: by chance, or each task in equal numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.training.learning.tiny import tiny_samples
from training.data.samples import Samples
from training.learning.mixing import Batch, balanced_order, cut, epoch_batches


def two_sets(first: int, second: int) -> Samples:
    """`first` films that know the prognosis, then `second` films that know the severity."""
    n = first + second
    known = np.zeros((n, 2), dtype=bool)
    known[:first, 0], known[first:, 1] = True, True
    labels = np.zeros((n, 2), dtype=np.int64)
    return Samples(np.zeros((n, 1, 1), np.uint8), labels, known, np.arange(n, dtype=np.uint64), ("prognosis", "severity"))


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(np.array_equal(a, b) for one, two in zip(first, second, strict=True)
                                             for a, b in zip(one, two, strict=True))  # fmt: skip


@given(st.integers(2, 200), st.integers(2, 40))
@settings(max_examples=100, deadline=None)
def test_batches_hold_every_film_once_and_never_one_film_alone(n: int, size: int) -> None:
    order = np.random.default_rng(n).permutation(n)
    batches = cut(order, size)
    assert np.array_equal(np.concatenate(batches), order)
    assert all(1 < len(batch) <= size + 1 for batch in batches)
    assert all(len(batch) == size for batch in batches[:-1])


@given(st.integers(2, 60), st.integers(2, 20), st.integers(0, 5), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_shuffled_is_every_film_once_in_the_order_of_seed_and_epoch(n: int, size: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(two_sets(1, n - 1), size, "shuffled", seed, epoch)
    rows = np.concatenate([batch.rows for batch in batches])
    assert np.array_equal(rows, np.random.default_rng([seed, epoch]).permutation(n))
    assert not any(batch.passes.any() for batch in batches)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_balanced_batches_of_two_sets_hold_both_alike_and_the_larger_set_exactly_once(first: int, second: int, half: int) -> None:
    samples = two_sets(first, second)
    batches = epoch_batches(samples, 2 * half, "balanced", 3, 1)
    held = [samples.known[batch.rows].sum(axis=0) for batch in batches]
    assert all(prognosis == severity for prognosis, severity in held[:-1])
    assert abs(int(held[-1][0]) - int(held[-1][1])) <= 1
    drawn = np.bincount(np.concatenate([batch.rows for batch in batches]), minlength=len(samples))
    larger, smaller = (drawn[:first], drawn[first:]) if first >= second else (drawn[first:], drawn[:first])
    assert (larger == 1).all()
    assert smaller.sum() in (len(larger), len(larger) - 1)
    assert smaller.max() - smaller.min() <= 1


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_passes_tell_how_often_a_film_came_before_in_the_epoch(first: int, second: int) -> None:
    seen: dict[int, int] = {}
    for rows, passes in epoch_batches(two_sets(first, second), 7, "balanced", 0, 1):
        for row, before in zip(rows.tolist(), passes.tolist(), strict=True):
            assert before == seen.get(row, 0)
            seen[row] = before + 1


@pytest.mark.parametrize("mixing", ["shuffled", "balanced"])
def test_an_epoch_can_be_repeated_and_the_next_one_and_another_seed_are_different(mixing: str) -> None:
    samples = two_sets(9, 30)

    def batches(seed: int, epoch: int) -> list[Batch]:
        return epoch_batches(samples, 8, mixing, seed, epoch)

    assert equal(batches(1, 2), batches(1, 2))
    assert not equal(batches(1, 2), batches(1, 3))
    assert not equal(batches(1, 2), batches(2, 2))


def test_one_task_alone_is_mixed_as_ever() -> None:
    alone = tiny_samples(13, tasks=("prognosis",))
    assert equal(epoch_batches(alone, 4, "balanced", 5, 2), epoch_batches(alone, 4, "shuffled", 5, 2))


@st.composite
def patterns(draw: st.DrawFn) -> NDArray[np.bool_]:
    """1-40 films that know any of 1-4 tasks."""
    films, tasks = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    return np.array(draw(st.lists(st.lists(st.booleans(), min_size=tasks, max_size=tasks), min_size=films, max_size=films)))


@given(patterns())
@settings(max_examples=100, deadline=None)
def test_with_any_tasks_and_any_films_that_know_several_each_gets_at_least_its_own_number_of_labels(
    known: NDArray[np.bool_],
) -> None:
    order = balanced_order(known, np.random.default_rng(0))
    assert (known[order].sum(axis=0) >= known.sum(axis=0)).all()
    assert known[order].any(axis=1).all()


def test_a_task_that_no_film_knows_is_not_waited_for() -> None:
    assert len(balanced_order(np.array([[True, False]] * 3), np.random.default_rng(0))) == 3


def test_films_that_know_two_tasks_count_for_both() -> None:
    known = np.array([[True, True, False]] * 5 + [[False, False, True]] * 20)
    assert known[balanced_order(known, np.random.default_rng(0))].sum(axis=0).tolist() == [20, 20, 20]


def test_another_mixing_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'stirred'.*'shuffled'.*'balanced'"):
        epoch_batches(two_sets(2, 2), 2, "stirred", 0, 1)
