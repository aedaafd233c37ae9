"""Which films make up a batch: each once, or each task equally often; always the same for the same seed and epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.samples import Samples, assemble
from training.learning.mixing import balanced_order, epoch_batches

TASKS = ("prognosis", "severity")
FILM = np.zeros((4, 4), np.uint8)
sizes = st.tuples(st.integers(1, 12), st.integers(1, 40))


def samples(first: int, second: int) -> Samples:
    labels = [{"prognosis": 0}] * first + [{"severity": 1}] * second
    return assemble([FILM] * len(labels), [str(i) for i in range(len(labels))], labels, TASKS)


@settings(max_examples=60)
@given(sizes, st.integers(1, 9), st.sampled_from(["shuffled", "balanced"]), st.integers(0, 99))
def test_an_epoch_is_a_function_of_seed_and_epoch(films: tuple[int, int], size: int, mixing: str, seed: int) -> None:
    data = samples(*films)
    first, again, other = ([b.rows.tolist() for b in epoch_batches(data, size, mixing, seed, e)] for e in (1, 1, 2))
    assert first == again
    assert sum(films) < 12 or first != other


@settings(max_examples=60)
@given(sizes, st.integers(2, 9))
def test_shuffled_has_every_film_once_and_no_batch_of_one(films: tuple[int, int], size: int) -> None:
    batches = epoch_batches(samples(*films), size, "shuffled", 0, 1)
    assert sorted(np.concatenate([b.rows for b in batches])) == list(range(sum(films)))
    assert all(len(b.rows) > 1 for b in batches) or sum(films) == 1
    assert all((b.passes == 0).all() for b in batches)


@settings(max_examples=60)
@given(sizes, st.integers(2, 9))
def test_balanced_has_each_task_equally_often_and_repeats_the_smaller_evenly(films: tuple[int, int], size: int) -> None:
    data = samples(*films)
    batches = epoch_batches(data, size, "balanced", 0, 1)
    order = np.concatenate([b.rows for b in batches])
    counts = [int((order < films[0]).sum()), int((order >= films[0]).sum())]
    assert max(counts) == max(films) and min(counts) >= max(films) - 1
    for place in range(len(order) + 1):
        seen = data.known[order[:place]].sum(axis=0)
        assert abs(int(seen[0]) - int(seen[1])) <= 1
    often = np.bincount(order, minlength=sum(films))
    for part in (often[: films[0]], often[films[0] :]):
        assert part.max() - part.min() <= 1
    passes = np.concatenate([b.passes for b in batches])
    assert {(int(r), int(p)) for r, p in zip(order, passes, strict=True)} == {
        (r, p) for r, n in enumerate(often) for p in range(n)
    }


def test_a_film_of_both_tasks_counts_for_both_and_a_task_nobody_knows_is_not_waited_for() -> None:
    known = np.array([[True, True], [True, False], [False, True]])
    order = balanced_order(known, np.random.default_rng(0))
    assert (known[order].sum(axis=0) >= 2).all()
    assert len(balanced_order(np.array([[True, False]] * 3), np.random.default_rng(0))) == 3


def test_an_unknown_mixing_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="mixing 'stirred': use 'shuffled' or 'balanced'"):
        epoch_batches(samples(2, 2), 2, "stirred", 0, 1)
