"""How far a figure could be off: percentile bootstrap (Efron, 1979) over persons, all draws at once.

Persons are drawn, not films: two films of one person are nearly one observation, and drawing films would make intervals too narrow.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.tasks import Task
from training.evaluation.metrics import Predictions, auc, brier, confusion, expected_calibration_error, from_counts

METRICS = ("acc", "f1", "gmean", "auc", "brier", "ece", "kappa", "mae")
CLASSWISE = ("f1", "gmean", "auc", "kappa")
_BLOCK = 100_000  # weights held at once, so that memory does not grow with the number of draws


def intervals(
    task: Task, predictions: Predictions, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """{metric: (low, high)} of the `METRICS` that `evaluate` gives for the task, in the same units.

    A draw that lost a class the films have is left out of the `CLASSWISE` metrics, which would be of other classes than the figure
    beside them. A metric without any draw left, or not defined on the films themselves, is left out. One person gives an interval of no
    width: there is nothing to draw from. Fewer films in a bin look less calibrated, so the interval of "ece" leans upwards and may lie
    above the figure. Raises ValueError without films, for draws < 1 and for a level outside (0, 1).
    """
    if not len(predictions) or draws < 1 or not 0 < level < 1:
        raise ValueError(
            f"task {task.name!r}: found {len(predictions)} films, {draws} draws, level {level}; "
            "allowed: at least 1 film, at least 1 draw, a level above 0 and below 1"
        )
    answer = predictions.probabilities.argmax(axis=1)
    cells = np.eye(len(task.classes) ** 2)[predictions.truth * len(task.classes) + answer]  # (N, C·C)
    occur = confusion(task, predictions).sum(axis=1) > 0
    pieces: dict[str, list[NDArray[np.float64]]] = {}
    for weights in weights_of(predictions.patients, len(predictions), draws, seed):
        counts = (weights @ cells).reshape(-1, len(task.classes), len(task.classes))
        figures = from_counts(task, counts)
        figures["auc"] = auc(task, predictions.truth, predictions.probabilities, weights)
        figures["brier"] = brier(predictions.truth, predictions.probabilities, weights)
        figures["ece"] = expected_calibration_error(predictions.truth, predictions.probabilities, weights=weights)
        whole = (counts.sum(axis=2)[:, occur] > 0).all(axis=1)
        for name in METRICS:
            if name in figures:
                pieces.setdefault(name, []).append(figures[name][whole] if name in CLASSWISE else figures[name])
    tails = [(1 - level) / 2, (1 + level) / 2]
    values = {name: np.concatenate(parts) for name, parts in pieces.items()}
    defined = {name: drawn[~np.isnan(drawn)] for name, drawn in values.items()}
    return {name: _pair(np.quantile(drawn, tails)) for name, drawn in defined.items() if len(drawn)}


def _pair(ends: NDArray[np.float64]) -> tuple[float, float]:
    return float(ends[0]), float(ends[1])


def interval_of(
    values: Sequence[float], persons: Sequence[str], of: Callable[[NDArray[np.float64]], np.floating], draws: int = 1000,
    level: float = 0.95, seed: int = 0,
) -> tuple[float, float]:  # fmt: skip
    """(low, high) of a figure `of` the values, one for each film of the `persons`: a mean, a median. ValueError without values."""
    if not values:
        raise ValueError("no values; an interval needs at least one")
    films = np.asarray(values, dtype=np.float64)
    drawn = [
        of(np.repeat(films, often.astype(int)))
        for block in weights_of(np.asarray(persons), len(films), draws, seed)
        for often in block
    ]
    return _pair(np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]))


def weights_of(patients: NDArray[np.generic] | None, films: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Blocks (draws, N): how often each film counts when as many persons are drawn, with replacement, as there are.

    `patients` (N,) says whose each of the N `films` is; None: one person each. The same persons, draws and seed give the same weights, so
    that differences between two methods can be drawn in pairs.
    """
    found, person = np.unique(np.arange(films) if patients is None else patients, return_inverse=True)
    rng, persons, size = np.random.default_rng(seed), len(found), max(1, _BLOCK // films)
    for start in range(0, draws, size):
        n = min(size, draws - start)
        drawn = rng.integers(0, persons, (n, persons)) + persons * np.arange(n)[:, None]
        often = np.bincount(drawn.ravel(), minlength=n * persons).reshape(n, persons)
        yield often[:, person].astype(np.float64)
