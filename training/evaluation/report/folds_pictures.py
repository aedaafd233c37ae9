"""Fold by fold: MDMT against single-task learning, and how the networks learned."""

from training.evaluation.report.drawing import Chart, Range, around
from training.evaluation.report.layout import TITLES, Picture, Section
from training.evaluation.report.published import METRICS
from training.evaluation.report.survey import OURS, Survey, contestants
from training.evaluation.results import UnitResult


def scatter_section(survey: Survey) -> Section:
    pairs = _pairs(survey)
    charts = [picture for metric in (*METRICS, "auc") if (picture := _scatter(survey, metric, pairs))]
    return Section(
        "folds",
        f"Fold by fold: MDMT against {survey.titles.get(contestants(survey.headline)[0], 'STL')}",
        "One mark per backbone and test fold of the films of the first table; above the diagonal MDMT is better on that fold.",
        pictures=charts,
        remarks=() if charts else ("No fold has been finished by both methods.",),
    )


def _pairs(survey: Survey) -> list[tuple[UnitResult, UnitResult]]:
    """(single-task, MDMT) on the same fold with the same backbone."""
    stl, subset = contestants(survey.headline)[0], survey.subsets[0]
    pairs = []
    for scheme in survey.schemes:
        for group in survey.of(OURS, subset, scheme, survey.headline):
            baseline = survey.find(stl, group.label, subset, scheme, survey.headline)
            known = {(u.repeat, u.fold): u for u in baseline.measured} if baseline else {}
            pairs += [(known[u.repeat, u.fold], u) for u in group.measured if (u.repeat, u.fold) in known]
    return pairs


def _scatter(survey: Survey, metric: str, pairs: list[tuple[UnitResult, UnitResult]]) -> Picture | None:
    points = [
        (100 * a.figures[metric], 100 * b.figures[metric], b) for a, b in pairs if metric in a.figures and metric in b.figures
    ]
    if not points:
        return None
    limits = around([v for x, y, _ in points for v in (x, y)])
    stl = survey.titles[contestants(survey.headline)[0]]
    higher, equal = sum(y > x for x, y, _ in points), sum(y == x for x, y, _ in points)
    says = f"{TITLES[metric]}: MDMT is higher on {higher} of {len(points)} folds" + (f", equal on {equal}" if equal else "")
    chart = Chart(f"{TITLES[metric]} (%)", says, limits, limits, (stl, "MDMT"))
    chart.curve([(limits[0], limits[0]), (limits[1], limits[1])], "even")
    for x, y, unit in points:
        place = survey.schemes.index(unit.scheme)
        chart.dot(x, y, f"s{place}", f"{unit.backbone}, {unit.fold}: {x:.1f} → {y:.1f}", square=place > 0)
    return Picture(
        chart.markup(),
        says + ".",
        tuple((f"s{i}", f"{scheme.upper()} {'■' if i else '●'}") for i, scheme in enumerate(survey.schemes)),
    )


def curves_section(survey: Survey) -> Section:
    subset, scheme = survey.subsets[0], survey.schemes[0]
    charts = []
    for experiment in survey.experiments if survey.best else ():
        units = _with_history(survey, experiment, subset, scheme)
        if units:
            charts.append(_learning(units, scheme))
    return Section(
        "learning",
        f"Learning curves of {survey.best or 'the best backbone'}",
        "Loss by epoch, one line per fold; the dot is the epoch whose weights were kept. Training loss is a mean over labels, validation "
        "loss a sum of the means of the tasks, so with two tasks their levels cannot be compared, their shapes can.",
        pictures=charts,
        remarks=() if charts else ("No finished fold of the best backbone has a history.",),
    )


def _with_history(survey: Survey, experiment: str, subset: str, scheme: str) -> list[UnitResult]:
    """A unit of several tasks has one history: that of its first task is taken."""
    for task in survey.tasks:
        group = survey.find(experiment, survey.best or "", subset, scheme, task)
        if group:
            return [unit for unit in group.measured if any("val_loss" in row for row in unit.history)]
    return []


def _learning(units: list[UnitResult], scheme: str) -> Picture:
    losses = [row[key] for unit in units for row in unit.history for key in ("train_loss", "val_loss") if key in row]
    longest = max(len(unit.history) for unit in units)
    x: Range = (1.0, float(max(longest, 2)))
    says = f"{units[0].title}, {scheme.upper()}: training and validation loss of {len(units)} folds over up to {longest} epochs"
    chart = Chart(units[0].title, says, x, (0.0, around(losses)[1]), ("epoch", "loss"))
    for key, style in (("train_loss", "s0 dashed"), ("val_loss", "s1")):
        for unit in units:
            chart.curve([(epoch, row[key]) for epoch, row in enumerate(unit.history, 1) if key in row], style)
    for unit in units:
        if 1 <= unit.best_epoch <= len(unit.history) and "val_loss" in unit.history[unit.best_epoch - 1]:
            loss = unit.history[unit.best_epoch - 1]["val_loss"]
            chart.dot(unit.best_epoch, loss, "s1", f"{unit.fold}: epoch {unit.best_epoch}, validation loss {loss:.3f}")
    return Picture(chart.markup(), says + ".", (("s0 dashed", "training"), ("s1", "validation")))
