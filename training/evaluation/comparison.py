"""One line of a comparison of experiments."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A group of folds and one task. `folds[metric]` holds a value per fold, `pooled[metric]` one over all test films at once;
    `missing` folds have no result."""

    experiment: str
    title: str
    backbone: str
    weights: str
    subset: str
    scheme: str
    task: str
    folds: Mapping[str, list[float]]
    pooled: Mapping[str, float]
    films: int
    missing: int = 0
