"""ACC, F1 and G-mean as the paper reports them, ROC-AUC from probabilities, ordinal agreement, calibration error.

Everything that needs labels alone is made of confusion counts, and those may be stacked: the bootstrap asks for a thousand at once.
In shapes: N films, C classes, `...` any number of leading axes (none, or one per draw).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cxr.tasks import Task

HEADLINE = ("acc", "f1", "gmean", "auc")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """One task's answers on N films: film digest, true class (N,), probabilities (N, C). No name of a patient or a file.

    `patients` (N,) numbers the persons of this set from 0: films of one person are no independent evidence. None: one film each.
    """

    films: tuple[str, ...]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    patients: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.truth)


def pooled(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several folds as one set.

    Persons of different parts are different persons unless they share a film: most divisions test no person in two folds, and one that
    does (`others: "first"` of a scheme, each fold testing the same films) asks about the same people again. A part without `patients`
    counts one person per film.
    """
    return Predictions(
        films=tuple(film for part in parts for film in part.films),
        truth=np.concatenate([part.truth for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        patients=None if all(part.patients is None for part in parts) and _apart(parts) else _distinct(parts),
    )


def films_of(parts: Sequence[Predictions]) -> int:
    """How many films were tested, each counted once however many folds tested it."""
    most: Counter[str] = Counter()
    for part in parts:
        most |= Counter(part.films)  # a film that stands in one part twice is in the data set twice
    return most.total()


def _apart(parts: Sequence[Predictions]) -> bool:
    return sum(map(len, parts)) == films_of(parts)


def _distinct(parts: Sequence[Predictions]) -> NDArray[np.int64]:
    """Persons numbered from 0 over all parts: connected by the films that they share."""
    numbers, persons = [np.zeros(0, dtype=np.int64)], 0
    for part in parts:
        own = np.arange(len(part)) if part.patients is None else part.patients
        numbers.append(own + persons)
        persons += int(own.max(initial=-1)) + 1
    whole = np.concatenate(numbers)
    if _apart(parts):
        return whole
    first: dict[str, int] = {}
    films = (film for part in parts for film in part.films)
    pairs = [(first.setdefault(film, person), person) for film, person in zip(films, whole.tolist(), strict=True)]
    shared = coo_array((np.ones(len(pairs)), tuple(np.transpose(pairs))), shape=(persons, persons))
    label = connected_components(shared, directed=False)[1]
    return np.unique(label[whole], return_inverse=True)[1].astype(np.int64)


def gmean(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Geometric mean of the recalls of all classes that occur (two classes: √(sensitivity · specificity))."""
    classes = int(max(truth.max(), predicted.max())) + 1
    return float(_gmean(_recalls(_counts(truth, predicted, classes))))


def evaluate(task: Task, predictions: Predictions) -> dict[str, float]:
    """Metrics of one task, each in [0, 1].

    acc; f1 (binary with `task.positive` as in Table 1 of the paper, macro where a task has none); f1_macro; gmean; auc (of
    probabilities; one against rest, macro, for more than two classes; left out when a class does not occur); recall per class;
    balanced_acc; ece (expected calibration error over 10 bins). Not in [0, 1]: brier (sum over classes, 0 to 2) and n (films);
    for ordinal tasks kappa (-1 to 1, see `from_counts`) and mae (categories, 0 to C - 1). Raises ValueError without films.
    """
    if not len(predictions):
        raise ValueError(f"task {task.name!r} has 0 films to evaluate; at least 1 is needed: leave the set out")
    truth, probabilities = predictions.truth, predictions.probabilities
    counts = confusion(task, predictions)
    values = from_counts(task, counts) | {"auc": auc(task, truth, probabilities)}
    values |= {f"recall_{name.lower()}": _recalls(counts)[i] for i, name in enumerate(task.classes)}
    figures = {name: float(value) for name, value in values.items() if not np.isnan(value)}
    return figures | {
        "ece": float(expected_calibration_error(truth, probabilities)),
        "brier": float(brier(truth, probabilities)),
        "n": float(len(truth)),
    }


def from_counts(task: Task, counts: NDArray[np.int64] | Floats) -> dict[str, Floats]:
    """Confusion counts (..., C, C), rows true → acc, f1, f1_macro, gmean, balanced_acc and, for ordinal tasks, kappa and mae: (...).

    Each matrix counts at least one film. kappa is Cohen's with quadratic weights (Cohen, 1968); NaN where truth and answers are all
    of one and the same class, because chance then agrees as well. mae is the mean distance between true and answered category.
    """
    films, recalls = counts.sum(axis=(-2, -1)), _recalls(counts)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    f1 = _ratio(2 * hits, counts.sum(-1) + counts.sum(-2), 0.0)  # (..., C); a class neither true nor answered counts 0
    figures = {
        "acc": hits.sum(-1) / films,
        "f1": f1[..., task.positive] if binary(task) else f1.mean(-1),
        "f1_macro": f1.mean(-1),
        "gmean": _gmean(recalls),
        "balanced_acc": np.nansum(recalls, axis=-1) / (~np.isnan(recalls)).sum(-1),
    }
    if task.ordinal:
        category = np.arange(len(task.classes))
        apart = np.abs(category[:, None] - category)  # (C, C)
        chance = counts.sum(-1)[..., :, None] * counts.sum(-2)[..., None, :] / films[..., None, None]
        figures["kappa"] = 1 - _ratio((apart**2 * counts).sum((-2, -1)), (apart**2 * chance).sum((-2, -1)), np.nan)
        figures["mae"] = (apart * counts).sum((-2, -1)) / films
    return figures


def auc(task: Task, truth: NDArray[np.int64], probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Area under the ROC curve: of `task.positive`, or the mean over classes of one against the rest.

    `weights` (..., N) say how often each film counts (None: once); the answer is (...), NaN where a class has no film.
    """
    classes = [task.positive] if binary(task) else range(len(task.classes))
    counted = np.ones(len(truth)) if weights is None else weights
    areas: Floats = np.mean([_area(truth == i, probabilities[:, i], counted) for i in classes], axis=0)
    return areas


def expected_calibration_error(
    truth: NDArray[np.int64], probabilities: Floats, bins: int = 10, weights: Floats | None = None
) -> Floats:
    """Mean |confidence − accuracy| of the predicted class over equal-width bins, weighted by films.

    `weights` (..., N) say how often each film counts (None: once); the answer is (...).
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    if weights is None:
        gap = np.abs(np.bincount(place, confidence, bins) - np.bincount(place, right, bins))
        return np.asarray(gap[np.bincount(place, minlength=bins) > 0].sum() / len(truth))
    gap = weights @ ((confidence - right)[:, None] * np.eye(bins)[place])  # (..., bins)
    error: Floats = np.abs(gap).sum(-1) / weights.sum(-1)
    return error


def brier(truth: NDArray[np.int64], probabilities: Floats, weights: Floats | None = None) -> Floats:
    """Mean over films of the squared distance to the truth, summed over classes: 0 to 2 (Brier, 1950). `weights` as above."""
    distance = ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1)
    score: Floats = distance.mean() if weights is None else weights @ distance / weights.sum(-1)
    return score


def confusion(task: Task, predictions: Predictions) -> NDArray[np.int64]:
    """(C, C) counts, rows true, columns predicted."""
    return _counts(predictions.truth, predictions.probabilities.argmax(axis=1), len(task.classes))


def mean_and_sd(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation over folds (n − 1; 0 for one fold)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def binary(task: Task) -> bool:
    """Whether F1 and AUC are of the task's positive class; of other tasks they are means over classes."""
    return task.positive is not None and len(task.classes) == 2


def _counts(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _ratio(above: NDArray[np.number], below: NDArray[np.number], empty: float) -> Floats:
    """above / below, and `empty` where there is nothing to divide by."""
    ratio: Floats = np.divide(above, below, out=np.full(np.shape(below), empty), where=np.asarray(below) > 0)
    return ratio


def _recalls(counts: NDArray[np.int64] | Floats) -> Floats:
    """(..., C), NaN for a class that does not occur."""
    return _ratio(np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1), np.nan)


def _gmean(recalls: Floats) -> Floats:
    occur = ~np.isnan(recalls)
    product: Floats = np.where(occur, recalls, 1).prod(-1) ** (1 / occur.sum(-1))
    return product


def _area(hit: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """Share of (hit, other) pairs in the right order, ties half (Mann and Whitney, 1947). hit, scores (N,); weights (..., N)."""
    order = np.argsort(scores)
    start = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # where each group of equal scores begins
    ranked = weights[..., order]
    hits = np.add.reduceat(ranked * hit[order], start, axis=-1)
    others = np.add.reduceat(ranked, start, axis=-1) - hits
    below = others.cumsum(-1) - others / 2
    return _ratio((hits * below).sum(-1), hits.sum(-1) * others.sum(-1), np.nan)
