"""The part of docs/evidence.md on numbers of films: single task and multi-task learning side by side on subsets of growing size."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from cxr.tasks import PROGNOSIS
from training.data.cohort import Row
from training.evaluation.metrics import evaluate
from training.evaluation.statistics import compare
from training.evaluation.table import as_markdown
from training.evidence import charts
from training.evidence.answers import Answered, answered
from training.evidence.page import Part, picture
from training.evidence.patients import Floats, by_film
from training.evidence.variants import cost_of
from training.protocol.recipe import SERVED
from training.protocol.recipe_parts import Subset
from training.protocol.study import Study, View

SINGLE = "stl-prognosis"
TITLES = {SINGLE: "STL τ1", SERVED: "MDMT"}
METRIC = "auc"
CHART = "sample-size.png"
HEADER = ("films with an outcome", "with a score", "pairs", "STL τ1, AUC", "MDMT, AUC", "gain (95 %)", "one-tailed p")


def part(study: Study, view: View) -> Part:
    """What the recipe has shown."""
    own = [one for one in answered(study, view) if one.task == PROGNOSIS.name and one.experiment in TITLES]
    found: dict[tuple[str, str], dict[str, float]] = {}  # subset, experiment → {backbone and seed: AUC}
    films: dict[str, int] = {}
    for one in own:
        films[one.subset] = len(one.rows)
        found.setdefault((one.subset, one.experiment), {})[f"{one.backbone}/{one.repeat}"] = _auc(one.rows, one.probabilities)
    scores = {subset.name: _with_score(study, subset) for subset in study.recipe.subsets}
    curve = [name for name in films if scores[name] == max(scores.values())]
    rows: list[tuple[object, ...]] = []
    lines: dict[str, list[charts.Span]] = {title: [] for title in TITLES.values()}
    for name, count in films.items():
        values = [np.array([found[name, experiment][pair] for pair in found[name, SINGLE]]) for experiment in TITLES]
        gain, low, high = _span(values[1] - values[0])
        p = compare(METRIC, "mean", TITLES[SERVED], found[name, SERVED], TITLES[SINGLE], found[name, SINGLE]).p
        told = [f"{v.mean():.1f} ± {v.std(ddof=1):.1f}" for v in values]
        told.append(f"{gain:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "−"))
        rows.append((count, scores[name], len(values[0]), *told, f"{p:.2g}" if p >= 1e-4 else "< 0.0001"))
        for title, each in zip(lines, values, strict=True):
            lines[title] += [_span(each)] if name in curve else []
    chart = charts.curve_chart(lines, [films[name] for name in curve], "films with an outcome", "AUC of prognosis, %")
    return Part(
        study.recipe.name,
        "How many films it takes",
        (
            _about(study, own),
            as_markdown(HEADER, rows),
            "Means ± standard deviations over pairs of backbone and seed, percent; in each pair both networks have the same films, "
            "folds and seed. The interval and p are of the paired t-test over pairs, which share films: they say how consistent the gain "
            "is over networks and seeds, not over other films.",
            picture(CHART, "AUC of both networks against the number of films with an outcome, beside most films with a score; 95 % bands"),
            cost_of(study, {}),
        ),
        {CHART: chart},
    )  # fmt: skip


def _about(study: Study, own: Sequence[Answered]) -> str:
    backbones = ", ".join(dict.fromkeys(one.backbone for one in own))
    scheme = study.recipe.schemes[0]
    return (
        "Generated films (phantoms), in which severity drives the outcome as in the demo; some have an outcome, others a Brixia score. "
        f"{len(study.recipe.subsets)} subsets, a smaller one being part of a larger one. {backbones} from random weights, "
        f"{study.recipe.pipeline.size} px, {scheme.folds} folds, {scheme.repeats} seeds. What takes many films here need not take as many "
        "on radiographs, where the link between severity and outcome is another; what can be read off is how the gain changes with the "
        "number of films."
    )


def _with_score(study: Study, subset: Subset) -> int:
    """Films without an outcome in a subset, at most."""
    others = [cohort for cohort in study.cohorts if PROGNOSIS.name not in cohort.rows[0].labels]
    return sum(min(len(cohort.rows), subset.at_most.get(cohort.name, len(cohort.rows))) for cohort in others)


def _auc(rows: Sequence[Row], probabilities: Floats) -> float:
    return 100 * evaluate(PROGNOSIS, by_film(rows, probabilities))[METRIC]


def _span(values: Floats) -> charts.Span:
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)
