"""What one film is answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxr.pipeline import Film


@dataclass(frozen=True)
class TaskAnswer:
    """One task's answer: the most probable class, the calibrated probability of each, and the classes that the film may be of.

    `candidates` holds indices, rising; None where the bundle carries no conformal limits for the task.
    """

    label: str
    index: int
    probabilities: tuple[float, ...]
    candidates: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer to one film: by task, with the film it was given for; explained, {task: (classes, h, w) evidence}."""

    answers: dict[str, TaskAnswer]
    film: Film
    evidence: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
