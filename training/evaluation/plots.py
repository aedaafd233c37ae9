"""Pictures of one unit: learning curves, confusion matrix, ROC, reliability."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from cxr.tasks import Task
from training.evaluation.metrics import Predictions, confusion


def _figure(columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure that belongs to nobody: pyplot's global state does not go with several workers."""
    figure = Figure(figsize=(4.2 * columns, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, columns, i + 1) for i in range(columns)]


def curves(history: list[dict[str, float]], best_epoch: int, path: Path) -> None:
    figure, (loss, accuracy) = _figure(2)
    epochs = np.arange(1, len(history) + 1)
    for key in sorted({k for row in history for k in row}):
        axis = loss if "loss" in key else accuracy if "accuracy" in key else None
        if axis is not None:
            axis.plot(epochs, [row[key] for row in history], label=key)
    for axis, name in ((loss, "loss"), (accuracy, "accuracy")):
        axis.axvline(best_epoch, color="gray", linestyle=":")
        axis.set(xlabel="epoch", ylabel=name)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=90)


def outcome(task: Task, predictions: Predictions, path: Path) -> None:
    """Confusion matrix, ROC (one curve per class; one in all for two classes) and reliability of one task."""
    figure, (matrix, roc, reliability) = _figure(3)
    counts = confusion(task, predictions)
    matrix.imshow(counts, cmap="Blues")
    for (row, column), n in np.ndenumerate(counts):
        matrix.text(column, row, str(n), ha="center", va="center", color="white" if n > counts.max() / 2 else "black")
    ticks = range(len(task.classes))
    matrix.set(xticks=ticks, yticks=ticks, xticklabels=task.classes, yticklabels=task.classes, xlabel="predicted", ylabel="true")
    matrix.set_title(f"{task.name}: {len(predictions)} films")
    for i in [task.positive] if task.positive is not None else ticks:
        hits = predictions.truth == i
        if hits.any() and not hits.all():
            false, true, _ = roc_curve(hits, predictions.probabilities[:, i])
            roc.plot(false, true, label=task.classes[i])
    roc.plot([0, 1], [0, 1], color="gray", linestyle=":")
    roc.set(xlabel="1 − specificity", ylabel="sensitivity", title="ROC")
    roc.legend(fontsize=7)
    _reliability(reliability, predictions)
    figure.savefig(path, dpi=90)


def _reliability(axis: Axes, predictions: Predictions, bins: int = 8) -> None:
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.probabilities.argmax(axis=1) == predictions.truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    used = np.unique(place)
    axis.plot([0, 1], [0, 1], color="gray", linestyle=":")
    axis.plot([confidence[place == b].mean() for b in used], [right[place == b].mean() for b in used], "o-")
    axis.set(xlabel="confidence", ylabel="accuracy", title="reliability", xlim=(0, 1), ylim=(0, 1))
