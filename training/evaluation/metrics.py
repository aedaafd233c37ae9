"""ACC, F1 and G-mean as the paper reports them, ROC-AUC from probabilities, calibration error. numpy and scikit-learn only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score

from cxr.tasks import Task

HEADLINE = ("acc", "f1", "gmean", "auc")


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


def pooled(parts: list[Predictions]) -> Predictions:
    """The predictions of several folds as one set."""
    return Predictions(
        films=tuple(film for part in parts for film in part.films),
        truth=np.concatenate([part.truth for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


def gmean(truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Geometric mean of the recalls of all classes that occur (two classes: √(sensitivity · specificity))."""
    recalls = recall_score(truth, predicted, labels=np.unique(truth), average=None, zero_division=0)
    return float(np.prod(recalls) ** (1 / len(recalls)))


def evaluate(task: Task, predictions: Predictions) -> dict[str, float]:
    """Metrics of one task, each in [0, 1].

    acc; f1 (binary with `task.positive` as in Table 1 of the paper, macro where a task has none); f1_macro; gmean; auc (of
    probabilities; one against rest, macro, for more than two classes; left out when a class does not occur); recall per class;
    balanced_acc; ece (expected calibration error over 10 bins). Not in [0, 1]: brier (sum over classes, 0 to 2) and n (films).
    """
    truth, probabilities = predictions.truth, predictions.probabilities
    predicted = probabilities.argmax(axis=1)
    labels = list(range(len(task.classes)))
    macro = float(f1_score(truth, predicted, labels=labels, average="macro", zero_division=0))
    binary = task.positive is not None and len(labels) == 2
    figures = {
        "acc": float((truth == predicted).mean()),
        "f1": float(f1_score(truth, predicted, pos_label=task.positive, zero_division=0)) if binary else macro,
        "f1_macro": macro,
        "gmean": gmean(truth, predicted),
        "balanced_acc": float(balanced_accuracy_score(truth, predicted)),
        "ece": expected_calibration_error(truth, probabilities),
        "brier": float(((probabilities - np.eye(len(labels))[truth]) ** 2).sum(axis=1).mean()),
        "n": float(len(truth)),
    }
    if set(np.unique(truth)) == set(labels):
        scores = probabilities[:, task.positive] if binary else probabilities
        figures["auc"] = float(roc_auc_score(truth, scores, multi_class="ovr", average="macro"))
    recalls = recall_score(truth, predicted, labels=labels, average=None, zero_division=0)
    figures |= {f"recall_{name.lower()}": float(recalls[i]) for i, name in enumerate(task.classes) if (truth == i).any()}
    return figures


def expected_calibration_error(truth: NDArray[np.int64], probabilities: NDArray[np.float64], bins: int = 10) -> float:
    """Mean |confidence − accuracy| of the predicted class over equal-width bins, weighted by films."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    weights = np.bincount(place, minlength=bins)
    gap = np.abs(np.bincount(place, confidence, bins) - np.bincount(place, right, bins))
    return float(gap[weights > 0].sum() / len(truth))


def confusion(task: Task, predictions: Predictions) -> NDArray[np.int64]:
    """(C, C) counts, rows true, columns predicted."""
    predicted = predictions.probabilities.argmax(axis=1)
    counts: NDArray[np.int64] = confusion_matrix(predictions.truth, predicted, labels=range(len(task.classes)))
    return counts


def mean_and_sd(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation over folds (n − 1; 0 for one fold)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
