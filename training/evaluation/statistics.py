"""Table 2 of the paper: is one experiment better than another over the backbones, on the mean of the folds and on their spread.

Section 3.2 of the paper asks one-tailed whether MDMT has a higher μ and a lower σ across test folds than STL and FT, and whether it is
not inferior to FT. A backbone is one observation, matched by its name; the tests are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

WARNING = (
    "The backbones were trained and tested on the same folds of the same films and are not independent samples: "
    "the p-values describe how consistent a difference is over architectures, not whether it would be found on other patients."
)
LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
_DECIMALS = 12  # differences of figures in [0, 1] that agree so far differ by rounding only


@dataclass(frozen=True)
class Comparison:
    """One cell of Table 2: `ours` against `baseline` over n backbones.

    `difference` is the mean of ours − baseline, in the units of the values; `t` and `effect` (Cohen's d_z = mean / sd of the
    differences) carry its sign. `p` is one-tailed (of "mean": ours is higher; of "sd": ours is lower), `wilcoxon_p` the signed-rank
    test in the same direction. `non_inferiority_p` is of H0 "worse by `margin` or more". `holm_p` is p until `family` corrects it.

    Equal differences have no variance: t and effect are then ±∞ (0 where the difference is 0), and p is 0 where the alternative
    holds and 1 where it does not. With one backbone nothing can be tested: t, effect and every p are NaN, and only then.
    """

    metric: str
    of: Literal["mean", "sd"]
    ours: str
    baseline: str
    n: int
    difference: float
    t: float
    p: float
    wilcoxon_p: float
    effect: float
    margin: float
    non_inferiority_p: float
    holm_p: float


def compare(
    metric: str,
    of: Literal["mean", "sd"],
    ours_name: str,
    ours: Mapping[str, float],
    baseline_name: str,
    baseline: Mapping[str, float],
    margin: float = 0.01,
) -> Comparison:
    """{backbone: value} of two experiments → their comparison.

    A value is the mean of a metric over the test folds, or its standard deviation across them. `margin` (one point by default, in the
    units of the values) is how much worse still counts as not inferior. Raises ValueError when the backbones are not the same, when
    there are none, when a value is not finite, and for a negative margin.
    """
    _check(of, ours_name, ours, baseline_name, baseline, margin)
    differences = np.array([ours[name] - baseline[name] for name in sorted(ours)])
    better = 1.0 if of == "mean" else -1.0
    t, p = _t_test(better * differences)
    t = better * t + 0.0  # + 0.0: a difference of nothing is 0, not −0
    return Comparison(
        metric=metric,
        of=of,
        ours=ours_name,
        baseline=baseline_name,
        n=len(differences),
        difference=float(differences.mean()),
        t=t,
        p=p,
        wilcoxon_p=_wilcoxon(better * differences),
        effect=t / float(np.sqrt(len(differences))),
        margin=margin,
        non_inferiority_p=_t_test(better * differences + margin)[1],
        holm_p=p,
    )


def family(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons in the same order with `holm_p` = p corrected for all of them together (Holm, 1979).

    A comparison that could not be tested (p NaN) keeps NaN and does not count.
    """
    tested = [i for i, comparison in enumerate(comparisons) if not np.isnan(comparison.p)]
    corrected, highest = list(comparisons), 0.0
    for rank, i in enumerate(sorted(tested, key=lambda i: comparisons[i].p)):
        highest = max(highest, min(1.0, (len(tested) - rank) * comparisons[i].p))
        corrected[i] = replace(comparisons[i], holm_p=highest)
    return corrected


def stars(p: float) -> str:
    """The marks of Table 2: "*" for p < 0.05, "**" for p < 0.01, "***" for p < 0.001, else nothing (also for NaN)."""
    return next((mark for level, mark in LEVELS if p < level), "")


def _check(
    of: str, ours_name: str, ours: Mapping[str, float], baseline_name: str, baseline: Mapping[str, float], margin: float
) -> None:
    if ours.keys() != baseline.keys() or not ours:
        missing = [
            f"{name!r} lacks {', '.join(sorted(other.keys() - own.keys())) or 'none'}"
            for name, own, other in ((ours_name, ours, baseline), (baseline_name, baseline, ours))
        ]
        raise ValueError(
            f"found {len(ours)} and {len(baseline)} backbones: {'; '.join(missing)}; allowed: the same backbones on both sides, "
            "at least one. Finish the missing units, or compare the backbones that both have"
        )
    for side, values in ((ours_name, ours), (baseline_name, baseline)):
        for backbone, value in values.items():
            if not np.isfinite(value):
                raise ValueError(f"{side!r} has {value} for {backbone}; allowed: finite numbers. Leave it out on both sides")
    if of not in ("mean", "sd"):
        raise ValueError(f"comparison of {of!r}; allowed: 'mean' (higher is better) and 'sd' (lower is better)")
    if not margin >= 0:
        raise ValueError(f"margin {margin}; allowed: 0 or more, in the units of the values, for example 0.01")


def _t_test(gains: NDArray[np.float64]) -> tuple[float, float]:
    """Gains (n,) of n backbones → t and one-tailed p of "the mean gain is above 0"."""
    gains = np.round(gains, _DECIMALS)
    if len(gains) < 2:
        return float("nan"), float("nan")
    if np.ptp(gains) == 0:
        t = float("inf") * float(np.sign(gains[0])) if gains[0] else 0.0
        return t, float(gains[0] <= 0)
    t = float(gains.mean() / (gains.std(ddof=1) / np.sqrt(len(gains))))
    return t, float(stats.t.sf(t, len(gains) - 1))


def _wilcoxon(gains: NDArray[np.float64]) -> float:
    """One-tailed p of the signed-rank test; gains of 0 are dropped, and where nothing is left p is 1."""
    gains = np.round(gains, _DECIMALS)
    if len(gains) < 2:
        return float("nan")
    return float(stats.wilcoxon(gains, alternative="greater").pvalue) if gains.any() else 1.0
