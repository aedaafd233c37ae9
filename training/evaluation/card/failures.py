"""Where the answers are wrong, as counts: by class, and by subgroup and confidence. Never a film, never a person."""

from collections.abc import Sequence

import numpy as np

from training.evaluation.card.judged import FEWEST, Judged
from training.evaluation.metrics import confusion
from training.evaluation.table import as_markdown

BANDS = ((0.0, 0.5, "under 50 %"), (0.5, 0.7, "50 to 70 %"), (0.7, 0.9, "70 to 90 %"), (0.9, 1.01, "90 % and more"))
NOTE = (
    "Cells are wrong answers of all answers that were given with this confidence (the highest probability; calibrated, where every fold "
    "has a temperature). The last column "
    "holds the confident errors: films on which nothing in the answer warns its reader."
)


def confusion_table(judged: Judged) -> str:
    """Markdown: true classes in rows, answered ones in columns, films in cells."""
    classes, counts = judged.task.classes, confusion(judged.task, judged.predictions)
    rows = [(f"{label}", *counts[i].tolist(), counts[i].sum()) for i, label in enumerate(classes)]
    return as_markdown((f"{judged.task.name}: true", *(f"answered {label}" for label in classes), "films"), rows)


def errors_by_confidence(tasks: Sequence[Judged]) -> str:
    """Markdown: a row per subgroup, a column per band of confidence, and how to read it."""
    header = ("task", "subgroup", "wrong", *(name for _, _, name in BANDS))
    return f"{as_markdown(header, [row for judged in tasks for row in _rows(judged)])}\n\n{NOTE}"


def _rows(judged: Judged) -> list[tuple[str, ...]]:
    sure = judged.calibrated.probabilities.max(axis=1)
    wrong = judged.calibrated.probabilities.argmax(axis=1) != judged.calibrated.truth
    rows = []
    for grouping, group, films in judged.subgroups():
        name = f"{grouping}: {group}" if group else "all films"
        if len(films) < FEWEST:
            rows.append((judged.task.name, name, *["too few"] * (1 + len(BANDS))))
            continue
        cells = [_of(wrong[films], (sure[films] >= low) & (sure[films] < high)) for low, high, _ in BANDS]
        rows.append((judged.task.name, name, _of(wrong[films], np.ones(len(films), dtype=bool)), *cells))
    return rows


def _of(wrong: np.ndarray, asked: np.ndarray) -> str:
    return f"{int((wrong & asked).sum())} of {int(asked.sum())}"
