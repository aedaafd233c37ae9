"""The same protocol with other seeds: does MDMT win by more than chance, pair by pair of backbone and seed?"""

from collections.abc import Sequence

from training.evaluation.metrics import mean_and_sd
from training.evaluation.report.layout import TITLES, Cell, Section, Table, cells, change, shown
from training.evaluation.report.survey import OURS, Survey, contestants
from training.evaluation.statistics import Comparison, compare, family, stars

METRICS = ("acc", "f1", "gmean", "auc")
DOUBT = (
    "Repeats divide the same films anew and start from other random numbers; they do not bring new films, and backbones share them. "
    "So p says how steady the difference is over seeds and architectures on these films, not how it would be on others."
)


def section(survey: Survey) -> Section | None:
    """None when the study has no repeats."""
    if not any(unit.repeat for unit in survey.results.units):
        return None
    tables = [_table(survey, subset, scheme) for subset in survey.subsets for scheme in survey.schemes]
    return Section.of(
        "repeats",
        "Over seeds: is MDMT better, pair by pair?",
        "Every pair is one backbone and one seed, with the mean over its folds; a small p (one-tailed paired t-test) means that MDMT is "
        "higher in nearly all pairs.",
        *tables,
        remarks=(DOUBT,),
    )


def _table(survey: Survey, subset: str, scheme: str) -> Table:
    found = comparisons(survey, subset, scheme)
    rows = []
    for baseline, metric, ours, theirs, c in found:
        title = f"MDMT vs {survey.titles[baseline]}"
        means = (shown(metric, *mean_and_sd(list(side.values()))) for side in (ours, theirs))
        ps = (f"{p:.2g}" if p >= 1e-4 else "< 0.0001" for p in (c.p, c.wilcoxon_p, c.holm_p))
        mark = Cell(stars(c.p) or "n.s.", "best" if stars(c.p) else "")
        rows.append(
            (
                *cells(title, TITLES[metric], str(c.n), *means, change(metric, c.difference)),
                *cells(*ps),
                Cell(f"{c.effect:.2f}"),
                mark,
            )
        )
    return Table(
        caption=f"{survey.headline}, {scheme.upper()}, films: {subset}",
        columns=("test", "metric", "pairs", "MDMT", "baseline", "difference", "p", "p Wilcoxon", "p Holm", "d", "stars"),
        rows=tuple(rows),
        heads=2,
        notes=("Figures are mean ± sd over pairs; d is Cohen's d of the paired differences.",),
    )


def comparisons(
    survey: Survey, subset: str, scheme: str
) -> Sequence[tuple[str, str, dict[str, float], dict[str, float], Comparison]]:
    """(baseline, metric, MDMT's values, the baseline's, their comparison) over the pairs that both have in full."""
    found = []
    for baseline in contestants(survey.headline)[:2]:
        for metric in METRICS:
            both = [_values(survey, experiment, subset, scheme, metric) for experiment in (OURS, baseline)]
            pairs = sorted(both[0].keys() & both[1].keys())
            if len(pairs) > 2:
                ours, theirs = ({pair: side[pair] for pair in pairs} for side in both)
                names = survey.titles[OURS], survey.titles[baseline]
                found.append((baseline, metric, ours, theirs, compare(metric, "mean", names[0], ours, names[1], theirs)))
    corrected = family([row[-1] for row in found])
    return [(*row[:-1], comparison) for row, comparison in zip(found, corrected, strict=True)]


def _values(survey: Survey, experiment: str, subset: str, scheme: str, metric: str) -> dict[str, float]:
    """ "backbone, seed" → mean over the folds of that repeat, where every fold has the metric."""
    values: dict[str, float] = {}
    for group in survey.of(experiment, subset, scheme, survey.headline):
        for repeat in sorted({unit.repeat for unit in group.units}):
            units = [unit for unit in group.units if unit.repeat == repeat]
            known = [unit.figures[metric] for unit in units if unit.test is not None and metric in unit.figures]
            if len(known) == len(units):
                values[f"{group.label}, repeat {repeat}"] = mean_and_sd(known)[0]
    return values
