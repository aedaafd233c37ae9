"""Table 2 of the paper: is MDMT better than STL and FT on the mean, and steadier over folds? With everything behind the stars."""

import math
from collections.abc import Sequence
from typing import Literal

from training.evaluation.report import published
from training.evaluation.report.headline import who_counts
from training.evaluation.report.layout import TITLES, Cell, Section, Table, cells
from training.evaluation.report.survey import OURS, Survey, contestants
from training.evaluation.statistics import WARNING, Comparison, compare, family, stars

Key = tuple[str, str, str, str]  # statistic, baseline, scheme, metric
Of = Literal["mean", "sd"]
STATISTICS: tuple[Of, Of] = ("mean", "sd")
SIGNS = {"mean": "μ", "sd": "σ"}
ENOUGH = 3  # backbones; a t-test of fewer says nothing


def section(survey: Survey) -> Section:
    tables = []
    for i, subset in enumerate(survey.subsets):
        found = comparisons(survey, subset)
        tables += [_stars(survey, subset, found, i == 0), _details(survey, subset, found, i > 0)]
    return Section.of(
        "table-2",
        "Table 2: is the difference more than chance?",
        "Stars mark one-tailed paired t-tests over backbones, matched by name (* p < 0.05, ** p < 0.01, *** p < 0.001; n.s. otherwise): "
        "μ asks whether MDMT's mean over folds is higher, σ whether its standard deviation over folds is lower.",
        *tables,
        remarks=(WARNING, published.TABLE_2_DOUBT) if survey.headline == published.TASK else (WARNING,),
    )


def comparisons(survey: Survey, subset: str) -> dict[Key, Comparison]:
    """All tests of one subset, which are one family for Holm's correction. What cannot be compared is left out."""
    found: dict[Key, Comparison] = {}
    for of in STATISTICS:
        for baseline in contestants(survey.headline)[:2]:
            for scheme in survey.schemes:
                for metric in published.METRICS:
                    ours, theirs = (_values(survey, e, subset, scheme, metric, of) for e in (OURS, baseline))
                    if ours and theirs:
                        names = survey.titles[OURS], survey.titles[baseline]
                        found[of, baseline, scheme, metric] = compare(metric, of, names[0], ours, names[1], theirs)
    enough = {key: comparison for key, comparison in found.items() if comparison.n >= ENOUGH}
    return found | dict(zip(enough, family(list(enough.values())), strict=True))


def _values(survey: Survey, experiment: str, subset: str, scheme: str, metric: str, of: Of) -> dict[str, float]:
    backbones, _ = survey.matched(subset, scheme, survey.headline)
    groups = {b: survey.find(experiment, b, subset, scheme, survey.headline) for b in backbones}
    stats = {b: group.mean_and_sd(metric) for b, group in groups.items() if group}
    return {b: pair[of == "sd"] for b, pair in stats.items() if pair}


def _stars(survey: Survey, subset: str, found: dict[Key, Comparison], beside_paper: bool) -> Table:
    columns = [(scheme, metric) for scheme in survey.schemes for metric in published.METRICS]
    rows = []
    for of in STATISTICS:
        for baseline in contestants(survey.headline)[:2]:
            title = f"MDMT vs {survey.titles.get(baseline, baseline)}"
            ours = (_mark(survey, found, (of, baseline, *column)) for column in columns)
            rows.append((*cells(SIGNS[of], title, "this study"), *ours))
            if beside_paper and survey.headline == published.TASK:
                rows.append((*cells(SIGNS[of], title, "paper"), *(_printed(of, baseline, *column) for column in columns)))
    return Table(
        caption=f"Films: {subset}",
        columns=("statistic", "test", "stars of", *(TITLES[metric] for _, metric in columns)),
        rows=tuple(rows),
        heads=3,
        groups=(("", 3), *((scheme.upper(), len(published.METRICS)) for scheme in survey.schemes)),
        notes=tuple(who_counts(survey, subset, scheme, survey.headline) for scheme in survey.schemes),
    )


def _mark(survey: Survey, found: dict[Key, Comparison], key: Key) -> Cell:
    comparison = found.get(key)
    if comparison is None:
        absent = [e for e in (OURS, key[1]) if e not in survey.titles]
        return Cell("not in this study" if absent else "missing", "missing", "no backbone has every fold of both methods")
    if comparison.n < ENOUGH:
        return Cell("n too small", "missing", f"{comparison.n} backbones; at least {ENOUGH} are needed")
    mark = stars(comparison.p)
    hint = f"p = {comparison.p:.2g}, after Holm {comparison.holm_p:.2g}, n = {comparison.n}"
    return Cell(mark or "n.s.", "best" if mark else "", hint)


def _printed(of: str, baseline: str, scheme: str, metric: str) -> Cell:
    row = published.TABLE_2[of, baseline].get(scheme)
    mark = row[published.METRICS.index(metric)] if row else "not printed"
    return Cell(mark or "no star", "paper")


def _details(survey: Survey, subset: str, found: dict[Key, Comparison], folded: bool) -> Table:
    rows = tuple(
        (
            *cells(
                SIGNS[of],
                f"MDMT vs {c.baseline}",
                scheme.upper(),
                TITLES[metric],
                str(c.n),
                f"{100 * c.difference:+.2f}".replace("-", "−"),
            ),
            *_tests(c),
        )
        for (of, _, scheme, metric), c in found.items()
    )
    margin = next((c.margin for c in found.values()), math.nan)
    notes = (
        "Difference in percentage points, MDMT minus baseline, mean over backbones (a negative one is the better one for σ); "
        "d: Cohen's d of paired differences; p values are one-tailed; Holm: corrected for all tests of this table.",
        f"Not inferior: p of the hypothesis that MDMT is worse by {100 * margin:g} point(s) or more, so a small p means not inferior.",
    )
    return Table(
        caption=f"Behind the stars, films: {subset}",
        columns=(
            "statistic",
            "test",
            "scheme",
            "metric",
            "n",
            "difference",
            "t",
            "p",
            "p Wilcoxon",
            "p Holm",
            "d",
            "p not inferior",
        ),
        rows=rows or (cells(*["–"] * 4, "0", *["missing"] * 7),),
        heads=4,
        notes=notes if rows else ("Nothing can be compared: no backbone has every fold of both methods.",),
        folded=folded,
    )


def _tests(c: Comparison) -> Sequence[Cell]:
    if c.n < ENOUGH:
        return [Cell("n too small", "missing", f"{c.n} backbones; at least {ENOUGH} are needed")] * 6
    ps = [f"{p:.2g}" if p >= 1e-4 else "< 0.0001" for p in (c.p, c.wilcoxon_p, c.holm_p, c.non_inferiority_p)]
    return cells(*(text.replace("-", "−") for text in (f"{c.t:.2f}", *ps[:3], f"{c.effect:.2f}", ps[3])))
