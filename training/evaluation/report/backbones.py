"""Table S1 of the paper: every backbone by itself."""

from training.evaluation.report.layout import LOWER_IS_BETTER, TITLES, Cell, Section, Table, shown
from training.evaluation.report.survey import Survey
from training.evaluation.report.task_metrics import table_metrics


def section(survey: Survey) -> Section:
    tables = [_table(survey, task, subset, i > 0) for task in survey.tasks for i, subset in enumerate(survey.subsets)]
    return Section.of(
        "table-s1",
        "Table S1: every backbone",
        "Mean ± sample standard deviation over the test folds; the best experiment of a backbone is bold; “3/5” after a figure says that "
        "only three of five folds are in it.",
        *[table for table in tables if table],
        remarks=(
            "The paper's own Table S1 is in a supplement that is not part of its public text, so it cannot stand beside ours.",
        ),
    )


def _table(survey: Survey, task: str, subset: str, folded: bool) -> Table | None:
    metrics = (*table_metrics(task), "auc")
    columns = [(scheme, metric) for scheme in survey.schemes for metric in metrics]
    present = [e for e in survey.experiments if any(survey.of(e, subset, s, task) for s in survey.schemes)]
    rows = []
    for backbone in survey.backbones:
        best = {c: _best(survey, backbone, subset, task, *c) for c in columns}
        for experiment in present:
            figures = (_cell(survey, experiment, backbone, subset, task, *c, best[c]) for c in columns)
            rows.append((Cell(backbone), Cell(survey.titles[experiment]), *figures))
    if not rows or not present:
        return None
    return Table(
        caption=f"{task}, films: {subset}",
        columns=("backbone", "experiment", *(TITLES[metric] for _, metric in columns)),
        rows=tuple(rows),
        heads=2,
        groups=(("", 2), *((scheme.upper(), len(metrics)) for scheme in survey.schemes)),
        folded=folded,
    )


def _best(survey: Survey, backbone: str, subset: str, task: str, scheme: str, metric: str) -> float | None:
    groups = [survey.find(e, backbone, subset, scheme, task) for e in survey.experiments]
    means = [stats[0] for g in groups if g and g.complete and (stats := g.mean_and_sd(metric))]
    if len(means) < 2:
        return None
    return min(means) if metric in LOWER_IS_BETTER else max(means)


def _cell(
    survey: Survey, experiment: str, backbone: str, subset: str, task: str, scheme: str, metric: str, best: float | None
) -> Cell:
    group = survey.find(experiment, backbone, subset, scheme, task)
    if group is None:
        return Cell("not in this study", "missing")
    stats = group.mean_and_sd(metric)
    if stats is None:
        return Cell(f"missing: {group.lack}" if group.lack else "missing: one class only", "missing", "see Failures")
    text = shown(metric, *stats)
    if not group.complete:
        return Cell(f"{text} ({len(group.measured)}/{len(group.units)})", "partial", group.lack)
    return Cell(text, "best" if stats[0] == best else "")
