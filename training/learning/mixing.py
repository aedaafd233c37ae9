"""Which films make up each batch of an epoch: a function of (seed, epoch), so that an epoch can be repeated."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.samples import Samples


class Batch(NamedTuple):
    """`rows` (B,) of the samples; `passes` (B,): how many times each row came earlier in this epoch."""

    rows: NDArray[np.int64]
    passes: NDArray[np.uint64]


def epoch_batches(samples: Samples, size: int, mixing: str, seed: int, epoch: int) -> list[Batch]:
    """The batches of one epoch, of `size` films each.

    mixing "shuffled": every film once, in random order; a batch holds each task as chance has it (what the paper's "shuffled" and the
    authors' loader do). "balanced": each task in equal numbers, see `balanced_order`; with one task it is "shuffled" to the bit.
    """
    if mixing not in ("shuffled", "balanced"):
        raise ValueError(f"mixing {mixing!r}: use 'shuffled' or 'balanced'")
    random = np.random.default_rng([seed, epoch])
    balanced = mixing == "balanced" and len(samples.tasks) > 1
    order = balanced_order(samples.known, random) if balanced else random.permutation(len(samples))
    passes = _passes(order)
    return [Batch(order[places], passes[places]) for places in cut(np.arange(len(order)), size)]


def cut(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut into batches of `size`; a last batch of one joins its neighbour, because BatchNorm cannot learn from one film."""
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def balanced_order(known: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.int64]:
    """Rows of `known` (N, T) in an order that gives each task the same number of labels, at every point of the epoch.

    The next film is always one of the task that has had the fewest so far; a film that knows several tasks counts for all of them.
    The films of a task come in random order and anew once all were drawn. The epoch is as long as the largest task: it ends when
    every task has had as many labels as it has films. For two tasks without a common film that is one of each in turn,
    2·max(n1, n2) draws or one less.
    """
    known = known[:, known.any(axis=0)]  # a task that no film knows would be waited for without end
    films = known.sum(axis=0)
    streams = [_endless(np.flatnonzero(column), random) for column in known.T]
    given, order = np.zeros(len(films), dtype=np.int64), []
    while (given < films).any():
        row = next(streams[int(given.argmin())])
        given += known[row]
        order.append(row)
    return np.array(order, dtype=np.int64)


def _endless(rows: NDArray[np.int64], random: np.random.Generator) -> Iterator[int]:
    while True:
        yield from random.permutation(rows).tolist()


def _passes(order: NDArray[np.int64]) -> NDArray[np.uint64]:
    """For each place of `order`, how often its row stands at an earlier place."""
    passes, seen = np.zeros(len(order), dtype=np.uint64), np.zeros(int(order.max(initial=-1)) + 1, dtype=np.uint64)
    for place, row in enumerate(order):
        passes[place] = seen[row]
        seen[row] += np.uint64(1)
    return passes
