"""Which classes an answer may be: class-conditional split conformal sets, applied. `training.evaluation.conformal` fits the limits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class SetLimits(BaseModel):
    """One task's limits as a bundle carries them.

    `highest` has one score (1 − probability) per class, None where too few films vouched for one: that class is in every set.
    `alpha` is the share of films whose true class may be missed, `films` the number of films behind the limits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    alpha: float = Field(gt=0, lt=1)
    highest: list[float | None]
    films: int = Field(ge=0)

    def candidates(self, probabilities: Sequence[float]) -> tuple[int, ...]:
        """Calibrated probabilities of one film, one per class → indices of the classes it may be of; may be none."""
        limits = np.array([np.inf if limit is None else limit for limit in self.highest])
        return tuple(int(i) for i in np.flatnonzero(prediction_sets(np.asarray(probabilities)[None], limits)[0]))


def prediction_sets(probabilities: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Probabilities (N, C) and thresholds (C,) → (N, C): is the class in the film's set. A set may be empty."""
    sets: NDArray[np.bool_] = 1 - probabilities <= limits
    return sets
