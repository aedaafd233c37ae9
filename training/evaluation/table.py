"""The comparison of experiments as text: mean ± sd over folds, and pooled, in percent as the paper prints them."""

from collections.abc import Iterable, Sequence

from cxr.tasks import TASKS
from training.evaluation.metrics import HEADLINE, binary, mean_and_sd
from training.evaluation.results import Line

HEADER = ("experiment", "backbone", "start", "scheme", "task", "films", "ACC", "F1", "G-mean", "AUC", "pooled ACC", "pooled AUC")


def percent(values: Sequence[float]) -> str:
    """Values in [0, 1] over folds → "mean ± sd" in percent; a dash where no fold has one."""
    if not values:
        return "–"
    mean, sd = mean_and_sd(list(values))
    return f"{100 * mean:.1f} ± {100 * sd:.1f}"


def rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """One row of strings per line, in the order of HEADER."""
    return [
        (
            line.title,
            line.backbone,
            line.weights,
            _scheme(line),
            line.task,
            str(line.films),
            *(percent(line.folds[m]) for m in HEADLINE),
            *(f"{100 * line.pooled[m]:.1f}" if m in line.pooled else "–" for m in ("acc", "auc")),
        )
        for line in lines
    ]


def legend(lines: Sequence[Line]) -> str:
    """What F1 and AUC are of, for the tasks of these lines."""
    tasks = [TASKS[name] for name in dict.fromkeys(line.task for line in lines)]
    means = ", ".join(task.name for task in tasks if not binary(task))
    f1 = [f"of {task.classes[task.positive]} for {task.name}" for task in tasks if task.positive is not None and binary(task)]
    return f"F1: {', '.join(f1 + [f'macro for {means}'] * bool(means))}" + f"; AUC: one against rest for {means}" * bool(means)


def _scheme(line: Line) -> str:
    """The scheme, with the part of the data where it is not all of it, and what is missing."""
    subset = "" if line.subset == "all" else f", {line.subset}"
    missing = f", {line.missing} folds missing" if line.missing else ""
    return line.scheme + subset + missing


def markdown(lines: Sequence[Line]) -> str:
    """The comparison as a Markdown table."""
    return as_markdown(HEADER, rows(lines)) + "\n"


def as_markdown(header: Sequence[str], body: Iterable[Sequence[object]]) -> str:
    """Any table as Markdown."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (header, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])
