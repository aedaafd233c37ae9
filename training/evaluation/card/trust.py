"""What the probabilities are worth: errors before and after calibration, and what the conformal sets cover."""

from collections.abc import Iterator, Mapping, Sequence

from training.evaluation.card.judged import Judged
from training.evaluation.card.out_of_fold import as_served
from training.evaluation.metrics import mean_and_sd
from training.evaluation.table import as_markdown

HEADER = (
    "task", "test films", "calibrated by", "ECE", "ECE calibrated", "Brier", "Brier calibrated", "coverage per class (aim 90 %)",
    "abstained", "ACC if answered",
)  # fmt: skip
NOTE = (
    "Measured on test films. Temperature and limits of a fold are from its own validation films (mean ± sd over folds), or from the films "
    "that the other folds tested, none of the same patient (all films together): so the served version is calibrated, by the films of all "
    "folds. ECE: expected calibration error over 10 bins (0 to 1), larger by chance for the fewer films of a fold. Brier: squared distance "
    "to the truth summed over classes (0 to 2). Coverage: share of a class's films whose conformal set holds the class. Abstained: share "
    "of films whose set is not a single class."
)
NOT_MEASURED = "not measured"


def calibration_table(tasks: Sequence[Judged]) -> str:
    """Markdown: two rows per task, and how to read them."""
    return f"{as_markdown(HEADER, [row for judged in tasks for row in _rows(judged)])}\n\n{NOTE}"


def _rows(judged: Judged) -> Iterator[tuple[str, ...]]:
    yield _row(judged, f"validation, {len(judged.folds)} folds", [fold.figures for fold in judged.folds], spread=True)
    yield _row(judged, "the other folds", [as_served(judged)], spread=False)


def _row(judged: Judged, by: str, measured: Sequence[Mapping[str, float]], spread: bool) -> tuple[str, ...]:
    """The mean over what was `measured`, with its sd where it has a `spread`."""

    def told(figure: str, percent: bool = False) -> str:
        values = [figures[figure] for figures in measured if figure in figures]
        if not values:
            return NOT_MEASURED
        mean, sd = mean_and_sd(values)
        text, deviation = (f"{100 * mean:.1f} %", f"{100 * sd:.1f}") if percent else (f"{mean:.3f}", f"{sd:.3f}")
        return f"{text} ± {deviation}" if spread else text

    errors = (told(name) for name in ("ece", "ece_calibrated", "brier", "brier_calibrated"))
    covered = ", ".join(f"{name} {told(f'coverage_{name.lower()}', percent=True)}" for name in judged.task.classes)
    silent = (told(name, percent=True) for name in ("abstained", "acc_answered"))
    return (judged.task.name, str(len(judged.predictions)), by, *errors, covered, *silent)
