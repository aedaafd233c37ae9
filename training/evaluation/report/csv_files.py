"""The numbers as CSV, a function of predictions and figures alone: no times, run ids or reasons, so that a study that was killed and
resumed gives the same bytes as an undisturbed one."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxr.tasks import TASKS
from training.evaluation.bootstrap import intervals
from training.evaluation.metrics import Predictions, evaluate
from training.evaluation.report.survey import Group, Survey

FIRST = ("acc", "f1", "gmean", "auc", "brier", "ece", "kappa", "mae")
DRAWS = 200  # of the bootstrap per row: quick for the hundreds of rows of a whole study; the page's own intervals have 1,000
ABSENT = "NA"
PLACE = ("experiment", "backbone", "weights", "subset", "scheme", "repeat", "fold", "task", "state")

Range = tuple[float, float]


def write_units(survey: Survey, path: Path) -> None:
    """One line per unit and task with all its test figures."""
    names = _figure_names(survey)
    units = sorted(survey.results.units, key=lambda unit: tuple(getattr(unit, name) for name in PLACE))
    rows = []
    for unit in units:
        films = ABSENT if unit.test is None else str(len(unit.test))
        epoch = str(unit.best_epoch) if unit.state == "finished" else ABSENT
        rows.append([*(str(getattr(unit, n)) for n in PLACE), films, epoch, *(_number(unit.figures.get(n)) for n in names)])
    _write(path, [*PLACE, "films", "best_epoch", *names], rows)


def write_results(survey: Survey, path: Path) -> None:
    """One line per experiment × backbone × subset × scheme × task: mean and sd over folds, pooled figures with 95 % intervals."""
    names = _figure_names(survey)
    header = ["experiment", "backbone", "weights", "subset", "scheme", "task", "folds", "missing_folds", "films"]
    header += [f"{name}_{of}" for name in names for of in ("mean", "sd")]
    header += [f"pooled_{name}{end}" for name in FIRST for end in ("", "_low", "_high")]
    known: dict[bytes, dict[str, Range]] = {}
    groups = sorted(survey.groups.values(), key=lambda g: (g.first.experiment, g.first.backbone, g.first.weights, *_place(g)))
    _write(path, header, [_result(group, names, known) for group in groups])


def _place(group: Group) -> tuple[str, str, str]:
    return group.first.subset, group.first.scheme, group.first.task


def _result(group: Group, names: Sequence[str], known: dict[bytes, dict[str, Range]]) -> list[str]:
    first, measured = group.first, group.measured
    row = [
        first.experiment,
        first.backbone,
        first.weights,
        *_place(group),
        str(len(measured)),
        str(len(group.units) - len(measured)),
    ]
    stats = [group.mean_and_sd(name) for name in names]
    over_folds = [_number(value) for pair in stats for value in (pair or (None, None))]
    if not measured:
        return [*row, ABSENT, *over_folds, *[ABSENT] * (3 * len(FIRST))]
    return [*row, str(group.films), *over_folds, *_pooled(first.task, group.pooled(), known)]


def _pooled(task: str, predictions: Predictions, known: dict[bytes, dict[str, Range]]) -> list[str]:
    """`known` keeps intervals by content: a training that several subsets share is drawn from once."""
    figures: Mapping[str, float] = evaluate(TASKS[task], predictions)
    persons = b"" if predictions.patients is None else predictions.patients.tobytes()
    content = hashlib.sha256(task.encode() + predictions.truth.tobytes() + predictions.probabilities.tobytes() + persons).digest()
    if content not in known:
        known[content] = intervals(TASKS[task], predictions, draws=DRAWS)
    row = []
    for name in FIRST:
        low, high = known[content].get(name, (None, None))
        row += [_number(figures.get(name)), _number(low), _number(high)]
    return row


def _figure_names(survey: Survey) -> list[str]:
    found = {name for unit in survey.results.units for name in unit.figures}
    return [*(n for n in FIRST if n in found), *sorted(found - set(FIRST) - {"n"})]  # n is the column "films"


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.6g}"


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
