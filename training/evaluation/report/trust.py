"""What the probabilities are worth: ROC, reliability before and after the temperature, and what conformal abstention gives."""

import numpy as np

from cxr.tasks import TASKS
from training.evaluation.metrics import Predictions, expected_calibration_error
from training.evaluation.report.drawing import Chart
from training.evaluation.report.layout import Cell, Picture, Section, Table
from training.evaluation.report.survey import Group, Survey, contestants

BINS = 10
PER_CLASS = "coverage_"


def section(survey: Survey) -> Section:
    subset = survey.subsets[0]
    charts = [picture for scheme in survey.schemes if (picture := _roc(survey, subset, scheme))]
    charts += [_reliability(group) for scheme in survey.schemes for group in _best_groups(survey, subset, scheme)]
    remarks = [] if charts else ["The best backbone is not known, because no backbone has every fold of every method."]
    if TASKS[survey.headline].positive is None:
        remarks.append("ROC curves are drawn of tasks with a positive class only.")
    return Section(
        "trust",
        "Probabilities: calibration, abstention, ROC",
        f"The table is a mean over backbones and folds; the pictures pool the test films of {survey.best or 'the best backbone'}: a "
        "reliability line on the diagonal means that of films answered with 80 % confidence 80 % are right.",
        (_table(survey, subset),),
        charts,
        remarks,
    )


def _best_groups(survey: Survey, subset: str, scheme: str) -> list[Group]:
    found = [survey.find(e, survey.best or "", subset, scheme, survey.headline) for e in contestants(survey.headline)]
    return [group for group in found if group and group.measured]


def _table(survey: Survey, subset: str) -> Table:
    classes = [name.lower() for name in TASKS[survey.headline].classes]
    figures = [("ece", "ECE"), ("ece_calibrated", "ECE calibrated"), ("brier", "Brier"), ("brier_calibrated", "Brier calibrated")]
    figures += [("temperature", "T"), *((f"{PER_CLASS}{name}", f"coverage {name.upper()}") for name in classes)]
    figures += [("abstained", "abstained"), ("acc_answered", "ACC if answered")]
    rows = []
    for scheme in survey.schemes:
        for experiment in survey.present(subset, scheme, survey.headline):
            groups = survey.of(experiment, subset, scheme, survey.headline)
            means = (_mean(groups, name) for name, _ in figures)
            rows.append((Cell(scheme.upper()), Cell(survey.titles[experiment]), *means))
    return Table(
        caption=f"{survey.headline}, films: {subset}",
        columns=("scheme", "experiment", *(title for _, title in figures)),
        rows=tuple(rows),
        heads=2,
        notes=(
            "ECE: expected calibration error, 10 bins. Calibrated: after the temperature T. Coverage: share of films of a class whose "
            "conformal set holds it. Abstained: share of films whose set is not a single class. All measured on test films with "
            "T and thresholds from validation films.",
        ),
    )


def _mean(groups: list[Group], name: str) -> Cell:
    values = [np.mean(found) for group in groups if (found := group.values(name))]
    if not values and name == "acc_answered" and any(group.values("abstained") for group in groups):
        return Cell("none answered", "", "every set held more than one class or none: too few validation films for the level")
    if not values:
        return Cell("not recorded", "missing")
    in_percent = name.startswith(PER_CLASS) or name in ("abstained", "acc_answered")
    return Cell(f"{100 * np.mean(values):.1f} %" if in_percent else f"{np.mean(values):.3f}")


def _roc(survey: Survey, subset: str, scheme: str) -> Picture | None:
    positive, groups = TASKS[survey.headline].positive, _best_groups(survey, subset, scheme)
    if positive is None or not groups:
        return None
    names = ", ".join(group.first.title for group in groups)
    says = f"ROC of {names}: {scheme.upper()}, test films of all folds together"
    chart = Chart(f"ROC, {scheme.upper()}", says, (0, 1), (0, 1), ("1 − specificity", "sensitivity"))
    chart.curve([(0, 0), (1, 1)], "even")
    for i, group in enumerate(groups):
        chart.curve(roc(group.pooled(), positive), f"s{i}")
    return Picture(chart.markup(), says + ".", tuple((f"s{i}", group.first.title) for i, group in enumerate(groups)))


def roc(predictions: Predictions, positive: int, most: int = 200) -> list[tuple[float, float]]:
    """(1 − specificity, sensitivity) from (0, 0) to (1, 1), thinned to at most about `most` points; films of equal score go together."""
    scores = predictions.probabilities[:, positive]
    order = np.argsort(-scores, kind="stable")
    hit = (predictions.truth == positive)[order]
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true, false = hit.cumsum()[last] / max(hit.sum(), 1), (~hit).cumsum()[last] / max((~hit).sum(), 1)
    kept = np.unique(np.linspace(0, len(last) - 1, min(most, len(last))).astype(int))
    return [(0.0, 0.0), *((float(false[i]), float(true[i])) for i in kept)]


def _reliability(group: Group) -> Picture:
    first, before = group.first, group.pooled()
    chart = Chart(
        f"{first.title}, {first.scheme.upper()}", f"Reliability of {first.title} in {first.scheme.upper()}",
        (0, 1), (0, 1), ("confidence", "share right"),
    )  # fmt: skip
    chart.curve([(0, 0), (1, 1)], "even")
    parts = [("s0 dashed", "as trained", before)]
    if all("temperature" in unit.figures for unit in group.measured):
        parts.append(("s1", "calibrated", group.pooled(scaled=True)))
    for style, name, predictions in parts:
        points = reliability(predictions)
        chart.curve([(x, y) for x, y, _ in points], style)
        for x, y, films in points:
            chart.dot(x, y, style.split()[0], f"{name}: {films} films of confidence {x:.2f}, {y:.2f} of them right")
    errors = ", ".join(f"{name} {expected_calibration_error(p.truth, p.probabilities):.3f}" for _, name, p in parts)
    note = "" if len(parts) > 1 else "; no temperature was recorded"
    return Picture(
        chart.markup(), f"{len(before):,} test films; ECE {errors}{note}.", tuple((style, name) for style, name, _ in parts)
    )


def reliability(predictions: Predictions) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, films) of each bin of confidence that has films."""
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.probabilities.argmax(axis=1) == predictions.truth
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (float(confidence[place == b].mean()), float(right[place == b].mean()), int((place == b).sum())) for b in np.unique(place)
    ]
