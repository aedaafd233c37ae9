"""Leave-one-centre-out, centre by centre: how far a network goes at a hospital that it has never seen."""

import numpy as np

from cxr.tasks import TASKS
from training.evaluation.bootstrap import intervals
from training.evaluation.metrics import evaluate
from training.evaluation.report.layout import TITLES, Cell, Section, Table, shown
from training.evaluation.report.survey import Group, Survey, contestants
from training.evaluation.report.task_metrics import interval_metrics

SCHEME = "loco"


def section(survey: Survey) -> Section:
    tables = [_table(survey, subset, i > 0) for i, subset in enumerate(survey.subsets)] if SCHEME in survey.schemes else []
    remark = f"Best backbone: {survey.best}, by the mean ACC of {survey.schemes[0].upper()}. "
    remark += "It was chosen by the test folds themselves, so its figures flatter it."
    nothing = (
        "This study leaves no centre out." if SCHEME not in survey.schemes else "No backbone has every fold of every method."
    )
    return Section.of(
        "centres",
        "Leave one centre out, centre by centre",
        "“All” is the mean over backbones; “best” is one backbone with its 95 % bootstrap interval over the persons of that centre: a wide "
        "interval means few films, not a bad network.",
        *tables,
        remarks=(remark if survey.best and tables else nothing,),
    )


def _table(survey: Survey, subset: str, folded: bool) -> Table:
    metrics = interval_metrics(survey.headline)
    rivals = [e for e in contestants(survey.headline) if e in survey.present(subset, SCHEME, survey.headline)]
    groups = {e: survey.of(e, subset, SCHEME, survey.headline) for e in rivals}
    folds = sorted({unit.fold for own in groups.values() for group in own for unit in group.units})
    rows = []
    for fold in folds:
        for experiment in rivals:
            row = _row(groups[experiment], survey.best, fold, metrics, survey.headline)
            rows.append((Cell(fold.removeprefix(f"{SCHEME}-")), Cell(survey.titles[experiment]), *row))
    return Table(
        caption=f"{survey.headline}, films: {subset}",
        columns=("centre", "experiment", "films", "backbones", *[TITLES[m] for m in metrics] * 2),
        rows=tuple(rows),
        heads=2,
        groups=(("", 4), ("all", len(metrics)), (f"best: {survey.best or 'none'}", len(metrics))),
        folded=folded,
    )


def _row(groups: list[Group], best: str | None, fold: str, metrics: tuple[str, ...], task: str) -> list[Cell]:
    measured = {group.label: [u for u in group.measured if u.fold == fold] for group in groups}
    units = [unit for own in measured.values() for unit in own]
    if not units:
        return [Cell("missing", "missing", "see Failures")] * (2 + 2 * len(metrics))
    films = max(len(unit.test) for unit in units if unit.test is not None)
    counted = sum(bool(own) for own in measured.values())
    head = [Cell(f"{films:,}"), Cell(f"{counted}/{len(groups)}", "" if counted == len(groups) else "partial")]
    means = [[u.figures[metric] for u in units if metric in u.figures] for metric in metrics]
    every = [
        Cell(shown(m, float(np.mean(v)))) if v else Cell("one class", "missing") for m, v in zip(metrics, means, strict=True)
    ]
    test = next((u.test for u in measured.get(best or "", []) if u.test is not None), None)
    if test is None:
        return [*head, *every, *[Cell("missing", "missing", "see Failures")] * len(metrics)]
    figures, ranges = evaluate(TASKS[task], test), intervals(TASKS[task], test)
    return [*head, *every, *(_with_interval(metric, figures, ranges) for metric in metrics)]


def _with_interval(metric: str, figures: dict[str, float], ranges: dict[str, tuple[float, float]]) -> Cell:
    if metric not in figures or metric not in ranges:
        return Cell("one class", "missing", "not defined on these films")
    low, high = ranges[metric]
    return Cell(f"{shown(metric, figures[metric])} [{shown(metric, low)}, {shown(metric, high)}]")
