"""Table 1 of the paper: the three methods on the headline task, mean over backbones, beside the printed figures."""

import numpy as np

from training.evaluation.report import published
from training.evaluation.report.layout import LOWER_IS_BETTER, TITLES, Cell, Section, Table, change, shown
from training.evaluation.report.survey import OURS, Survey, contestants

Means = dict[tuple[str, str, str], float]  # (experiment, scheme, metric) → mean over backbones of the mean over folds


def section(survey: Survey) -> Section:
    tables = [table(survey, subset, published.METRICS, i == 0) for i, subset in enumerate(survey.subsets)]
    return Section.of(
        "table-1",
        "Table 1: prognosis, mean over backbones" if survey.headline == "prognosis" else f"Table 1: {survey.headline}",
        "Each figure is the mean over backbones of the mean over test folds, in percent; our best is bold, the paper's figures stand "
        "in the row below ours, and differences between methods are easier to compare with the paper than levels.",
        *tables,
    )


def table(survey: Survey, subset: str, metrics: tuple[str, ...], beside_paper: bool, task: str | None = None) -> Table:
    """Contestants × schemes × metrics of `task` (default: the headline task) on one subset."""
    task = task or survey.headline
    paper = beside_paper and task == published.TASK
    found = means(survey, subset, metrics, task)
    columns = [(scheme, metric) for scheme in survey.schemes for metric in metrics]
    rows = []
    for experiment in contestants(task):
        title = survey.titles.get(experiment, experiment)
        rows.append((Cell(title), Cell("this study"), *(_level(survey, found, task, experiment, *c) for c in columns)))
        if paper:
            rows.append((Cell(title), Cell("paper"), *(_paper(experiment, *c) for c in columns)))
    for baseline in contestants(task)[:2]:
        title = f"{survey.titles.get(OURS, 'MDMT')} − {survey.titles.get(baseline, baseline)}"
        rows.append((Cell(title), Cell("this study"), *(_step(found, baseline, *c) for c in columns)))
        if paper:
            rows.append((Cell(title), Cell("paper"), *(_paper_step(baseline, *c) for c in columns)))
    return Table(
        caption=f"Films: {subset}" + (" (paper: AIforCOVID releases 1+2+3)" if paper else ""),
        columns=("experiment", "figures of", *(TITLES[metric] for _, metric in columns)),
        rows=tuple(rows),
        heads=2,
        groups=(("", 2), *((scheme.upper(), len(metrics)) for scheme in survey.schemes)),
        notes=tuple(who_counts(survey, subset, scheme, task) for scheme in survey.schemes),
    )


def means(survey: Survey, subset: str, metrics: tuple[str, ...], task: str) -> Means:
    """Only of backbones that have every fold of every contestant, and only where all of them have the metric."""
    found: Means = {}
    for scheme in survey.schemes:
        backbones, _ = survey.matched(subset, scheme, task)
        for experiment in contestants(task):
            for metric in metrics:
                groups = [g for b in backbones if (g := survey.find(experiment, b, subset, scheme, task))]
                values = [stats[0] for g in groups if (stats := g.mean_and_sd(metric))]
                if values and len(values) == len(backbones):
                    found[experiment, scheme, metric] = float(np.mean(values))
    return found


def who_counts(survey: Survey, subset: str, scheme: str, task: str) -> str:
    """Which backbones the means are over, and why others are not."""
    backbones, lacks = survey.matched(subset, scheme, task)
    text = f"{scheme.upper()}: {len(backbones)} backbones"
    if lacks:
        text += "; left out, because a method without all of its folds cannot be compared: "
        text += "; ".join(f"{name} ({why})" for name, why in lacks.items())
    return text + "."


def _level(survey: Survey, found: Means, task: str, experiment: str, scheme: str, metric: str) -> Cell:
    value = found.get((experiment, scheme, metric))
    if value is None:
        absent = experiment not in survey.titles
        return Cell("not in this study" if absent else "missing", "missing", "" if absent else "see the note below the table")
    rivals = [found[e, scheme, metric] for e in contestants(task) if (e, scheme, metric) in found]
    best = min(rivals) if metric in LOWER_IS_BETTER else max(rivals)
    return Cell(shown(metric, value), "best" if value == best and len(rivals) > 1 else "")


def _step(found: Means, baseline: str, scheme: str, metric: str) -> Cell:
    ours, theirs = found.get((OURS, scheme, metric)), found.get((baseline, scheme, metric))
    if ours is None or theirs is None:
        return Cell("missing", "missing", "one of the two methods is missing")
    return Cell(change(metric, ours - theirs))


def _paper(experiment: str, scheme: str, metric: str) -> Cell:
    printed = published.TABLE_1[experiment].get(scheme)
    return Cell(f"{printed[published.METRICS.index(metric)]:.1f}" if printed else "not printed", "paper")


def _paper_step(baseline: str, scheme: str, metric: str) -> Cell:
    if scheme not in published.TABLE_1[baseline]:
        return Cell("not printed", "paper")
    place = published.METRICS.index(metric)
    return Cell(
        f"{published.TABLE_1[OURS][scheme][place] - published.TABLE_1[baseline][scheme][place]:+.1f}".replace("-", "−"), "paper"
    )
