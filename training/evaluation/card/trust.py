"""What the probabilities are worth: errors before and after calibration, and what the conformal sets cover."""

from collections.abc import Sequence

from training.evaluation.card.judged import Judged
from training.evaluation.metrics import mean_and_sd
from training.evaluation.table import as_markdown

HEADER = (
    "task", "test films", "folds", "temperature", "ECE", "ECE calibrated", "Brier", "Brier calibrated", "coverage per class (aim 90 %)",
    "abstained", "ACC if answered",
)  # fmt: skip
NOTE = (
    "Mean ± sd over folds, measured on test films, with temperature and thresholds from the fold's validation films. ECE: expected "
    "calibration error over 10 bins (0 to 1). Brier: squared distance to the truth summed over classes (0 to 2). Coverage: share of a "
    "class's films whose conformal set holds the class. Abstained: share of films whose set is not a single class."
)


def calibration_table(tasks: Sequence[Judged]) -> str:
    """Markdown: one row per task, and how to read it."""
    return f"{as_markdown(HEADER, [_row(judged) for judged in tasks])}\n\n{NOTE}"


def _row(judged: Judged) -> tuple[str, ...]:
    errors = (_mean(judged, name) for name in ("temperature", "ece", "ece_calibrated", "brier", "brier_calibrated"))
    covered = ", ".join(f"{name} {_mean(judged, f'coverage_{name.lower()}', 100)}" for name in judged.task.classes)
    silent = (_mean(judged, name, 100) for name in ("abstained", "acc_answered"))
    return (judged.task.name, str(len(judged.predictions)), str(len(judged.folds)), *errors, covered, *silent)


def _mean(judged: Judged, figure: str, percent: int = 0) -> str:
    """Mean ± sd over the folds that have the figure; told where none has."""
    values = [fold.figures[figure] for fold in judged.folds if figure in fold.figures]
    if not values:
        return "not measured"
    mean, sd = mean_and_sd(values)
    return f"{percent * mean:.1f} % ± {percent * sd:.1f}" if percent else f"{mean:.3f} ± {sd:.3f}"
