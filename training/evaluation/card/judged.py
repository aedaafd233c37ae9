"""Test films of one task with what is known of each: what subgroups, calibration and failures are computed from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.tasks import AGE, Task
from training.evaluation.metrics import Predictions
from training.evaluation.results import UnitResult

FEWEST = 10  # films: of a smaller group a figure says little about the group, and something about its persons
NOT_STATED = "not stated"
_RANK = {name: i for i, name in enumerate((*AGE.classes, NOT_STATED))}  # ages in their order, what is not known last


@dataclass(frozen=True)
class Judged:
    """N films, each tested by the fold that had not seen its patient.

    `predictions` as trained, `calibrated` after each fold's temperature (as trained, where a fold has none); `patients` number the
    persons over all folds. `groups` holds a mapping per film: grouping ("centre", "view", …) → group.
    """

    task: Task
    folds: tuple[UnitResult, ...]
    predictions: Predictions
    calibrated: Predictions
    groups: tuple[Mapping[str, str], ...]

    def subgroups(self) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
        """(grouping, group, films) with all films first; a film whose group is not told is in the group NOT_STATED."""
        yield "all", "", np.arange(len(self.groups))
        for grouping in dict.fromkeys(name for groups in self.groups for name in groups):
            group_of = np.array([groups.get(grouping, NOT_STATED) for groups in self.groups])
            for group in sorted(map(str, np.unique(group_of)), key=lambda name: (_RANK.get(name, -1), name)):
                yield grouping, group, np.flatnonzero(group_of == group)


def persons(predictions: Predictions, films: NDArray[np.intp]) -> int:
    """How many patients the films are of."""
    return len(films) if predictions.patients is None else len(np.unique(predictions.patients[films]))


def part(predictions: Predictions, films: NDArray[np.intp]) -> Predictions:
    """The predictions of some of the films."""
    return Predictions(
        tuple(predictions.films[i] for i in films),
        predictions.truth[films],
        predictions.probabilities[films],
        None if predictions.patients is None else predictions.patients[films],
    )
