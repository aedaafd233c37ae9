"""Films and labels as arrays: what one unit trains on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.tasks import TASKS
from training.data.rows import FilmRows


@dataclass(frozen=True)
class Samples:
    """N films with their labels.

    films (N, S, S) uint8, an array or rows of film stores; labels (N, T) int64 class indices; known (N, T) bool, the indicator of
    equation 2: label (i, j) holds only where known (i, j); keys (N,) uint64 name the sample wherever it stands; columns of labels and
    known are in the order of `tasks`.
    """

    films: NDArray[np.uint8] | FilmRows
    labels: NDArray[np.int64]
    known: NDArray[np.bool_]
    keys: NDArray[np.uint64]
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.films)

    def labels_of(self, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Labels and known (b, T) of the films `rows` (b,), of which some are shown `mirrored` (b,): then left is asked as right.

        Of a task whose mirror image is not learned nothing is known on a mirrored film: what stands in its place there has no label.
        """
        labels, known = self.labels[rows], self.known[rows]
        images = [TASKS[task].mirror or task for task in self.tasks]
        mirror = [self.tasks.index(image) if image in self.tasks else j for j, image in enumerate(images)]
        if mirror != list(range(len(mirror))):
            labels[mirrored], known[mirrored] = labels[mirrored][:, mirror], known[mirrored][:, mirror]
        if lost := [j for j, image in enumerate(images) if image not in self.tasks]:
            known[np.ix_(mirrored, lost)] = False
        return labels, known


def assemble(
    films: Sequence[NDArray[np.uint8]] | FilmRows, names: Sequence[str], labels: Sequence[dict[str, int]], tasks: Sequence[str]
) -> Samples:
    """Films (each S×S) with the name and labels of each → Samples over `tasks`; labels of other tasks are left out."""
    table = np.zeros((len(films), len(tasks)), dtype=np.int64)
    known = np.zeros((len(films), len(tasks)), dtype=bool)
    for i, row in enumerate(labels):
        for j, task in enumerate(tasks):
            if task in row:
                table[i, j], known[i, j] = row[task], True
    keys = np.array([sample_key(name) for name in names], dtype=np.uint64)
    return Samples(films if isinstance(films, FilmRows) else np.stack(films), table, known, keys, tuple(tasks))


def sample_key(name: str) -> int:
    """Name of a sample → 64 bits that do not depend on Python's hash seed, on order or on the other samples."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
