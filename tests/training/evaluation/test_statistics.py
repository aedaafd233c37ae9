"""Table 2 against numbers worked out by hand, scipy and statsmodels."""

import warnings
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from training.evaluation.statistics import WARNING, Comparison, compare, family, stars

# Differences 0.02, 0.04, 0.01, 0.03, 0.05: mean 0.03, squared deviations sum to 0.001, sd = √(0.001 / 4) = 0.0158114,
# t = 0.03 / (0.0158114 / √5) = 3√2 = 4.242641, d_z = 0.03 / 0.0158114 = 1.897367.
# Student's t of 4 degrees: P(T > t) = 1/2 − 3/8 · t/√(1 + t²/4) · (1 − t²/(12 (1 + t²/4)));
# t² = 18 → 1/2 − 3/8 · 1.809068 · 0.727273 = 0.006617.
# All five signs agree: signed-rank p = 1/2⁵. Not inferior by 0.01: mean 0.04, t² = 32 → 1/2 − 3/8 · 1.885618 · 0.703704 = 0.002406.
MDMT = {"a": 0.72, "b": 0.74, "c": 0.66, "d": 0.73, "e": 0.70}
STL = {"a": 0.70, "b": 0.70, "c": 0.65, "d": 0.70, "e": 0.65}


def of_p(p: float) -> Comparison:
    return Comparison("acc", "mean", "MDMT", "STL", 5, 0.0, 0.0, p, p, 0.0, 0.01, p, p)


def named(values: list[float]) -> dict[str, float]:
    return {f"backbone-{i}": value for i, value in enumerate(values)}


def test_a_comparison_of_means_is_the_one_worked_out_by_hand() -> None:
    found = compare("acc", "mean", "MDMT", MDMT, "STL", STL)
    assert (found.metric, found.of, found.ours, found.baseline, found.n, found.margin) == ("acc", "mean", "MDMT", "STL", 5, 0.01)
    assert found.difference == pytest.approx(0.03)
    assert found.t == pytest.approx(3 * np.sqrt(2))
    assert found.effect == pytest.approx(1.897367, abs=1e-6)
    assert found.p == found.holm_p == pytest.approx(0.006617, abs=1e-6)
    assert found.wilcoxon_p == pytest.approx(1 / 32)
    assert found.non_inferiority_p == pytest.approx(0.002406, abs=1e-6)


def test_a_comparison_of_spreads_asks_for_less() -> None:
    found = compare("acc", "sd", "MDMT", STL, "STL", MDMT)  # the same differences, all below 0
    assert (found.difference, found.t, found.effect) == pytest.approx((-0.03, -3 * np.sqrt(2), -1.897367))
    assert (found.p, found.wilcoxon_p, found.non_inferiority_p) == pytest.approx((0.006617, 1 / 32, 0.002406), abs=1e-6)
    assert compare("acc", "sd", "MDMT", MDMT, "STL", STL).p == pytest.approx(1 - 0.006617, abs=1e-6)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 24),
    margin=st.floats(0, 0.1),
    of=st.sampled_from(["mean", "sd"]),
)
@settings(max_examples=60, deadline=None)
def test_tests_are_those_of_scipy(seed: int, n: int, margin: float, of: str) -> None:
    ours, theirs = np.random.default_rng(seed).uniform(0.5, 0.7, (2, n))
    found = compare("f1", of, "A", named(ours.tolist()), "B", named(theirs.tolist()), margin)  # type: ignore[arg-type]
    way, worse = ("greater", theirs - margin) if of == "mean" else ("less", theirs + margin)
    paired = stats.ttest_rel(ours, theirs, alternative=way)
    assert (found.t, found.p) == pytest.approx((paired.statistic, paired.pvalue), rel=1e-6, abs=1e-9)
    assert found.effect == pytest.approx((ours - theirs).mean() / (ours - theirs).std(ddof=1), rel=1e-6, abs=1e-9)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(ours, theirs, alternative=way).pvalue)
    assert found.non_inferiority_p == pytest.approx(stats.ttest_rel(ours, worse, alternative=way).pvalue, rel=1e-6, abs=1e-9)


def test_backbones_are_matched_by_name_whatever_their_order() -> None:
    assert compare("acc", "mean", "A", dict(reversed(MDMT.items())), "B", STL) == compare("acc", "mean", "A", MDMT, "B", STL)


def test_other_backbones_on_the_other_side_are_refused_with_all_that_lack() -> None:
    left, right = {"resnet18": 0.7, "googlenet": 0.6}, {"resnet18": 0.7, "densenet121": 0.6, "densenet201": 0.6}
    with pytest.raises(ValueError, match="'MDMT' lacks densenet121, densenet201; 'FT' lacks googlenet"):
        compare("acc", "mean", "MDMT", left, "FT", right)
    with pytest.raises(ValueError, match="'FT' lacks googlenet, resnet18"):
        compare("acc", "mean", "MDMT", left, "FT", {})
    with pytest.raises(ValueError, match="found 0 and 0 backbones"):
        compare("acc", "mean", "MDMT", {}, "FT", {})


def test_values_and_margins_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="'FT' has nan for b"):
        compare("acc", "mean", "MDMT", {"a": 0.5, "b": 0.5}, "FT", {"a": 0.5, "b": float("nan")})
    for margin in (-0.01, float("nan")):
        with pytest.raises(ValueError, match="margin"):
            compare("acc", "mean", "MDMT", MDMT, "FT", STL, margin)
    with pytest.raises(ValueError, match="'median'; allowed: 'mean'"):
        compare("acc", "median", "MDMT", MDMT, "FT", STL)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ours", "of", "t", "p", "wilcoxon", "non_inferiority"),
    [
        ([0.8, 0.7, 0.4], "mean", np.inf, 0, 1 / 8, 0),  # 0.1 higher for every backbone
        ([0.6, 0.5, 0.2], "mean", -np.inf, 1, 1, 1),
        ([0.7, 0.6, 0.3], "mean", 0, 1, 1, 0),
        ([0.69, 0.59, 0.29], "mean", -np.inf, 1, 1, 1),  # worse by the margin itself is not "less than the margin"
        ([0.6, 0.5, 0.2], "sd", -np.inf, 0, 1 / 8, 0),
        ([0.7, 0.6, 0.3], "sd", 0, 1, 1, 0),
        ([0.71, 0.61, 0.31], "sd", np.inf, 1, 1, 1),
    ],
)
def test_equal_differences_have_a_defined_result(
    ours: list[float], of: str, t: float, p: float, wilcoxon: float, non_inferiority: float
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare("acc", of, "A", named(ours), "B", named([0.7, 0.6, 0.3]))  # type: ignore[arg-type]
    assert (found.t, found.effect, found.p, found.non_inferiority_p) == (t, t, p, non_inferiority)
    assert found.wilcoxon_p == pytest.approx(wilcoxon)
    assert "-0.0" not in (str(found.t), str(found.effect), str(found.difference))


def test_one_backbone_has_a_difference_and_nothing_to_test() -> None:
    found = compare("acc", "mean", "MDMT", {"a": 0.75}, "STL", {"a": 0.5})
    assert (found.n, found.difference) == (1, 0.25)
    assert np.isnan([found.t, found.effect, found.p, found.wilcoxon_p, found.non_inferiority_p, found.holm_p]).all()


@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 0.01, -0.01, 0.3])), min_size=2, max_size=8))
@settings(max_examples=80, deadline=None)
def test_with_two_backbones_or_more_every_p_is_a_number_between_0_and_1_and_nothing_warns(
    pairs: list[tuple[float, float]],
) -> None:
    ours, theirs = named([a + b for a, b in pairs]), named([a for a, _ in pairs])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare("acc", "mean", "A", ours, "B", theirs)
    assert all(0 <= p <= 1 for p in (found.p, found.wilcoxon_p, found.non_inferiority_p, found.holm_p))
    assert not np.isnan([found.t, found.effect]).any()


def test_holm_is_the_one_worked_out_by_hand_in_the_order_given() -> None:
    # sorted 0.005·4 = 0.02, 0.01·3 = 0.03, 0.03·2 = 0.06, 0.04·1 = 0.04 → not below the one before: 0.06
    corrected = family([of_p(p) for p in (0.01, 0.04, 0.03, 0.005)])
    assert [one.holm_p for one in corrected] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [one.p for one in corrected] == [0.01, 0.04, 0.03, 0.005]
    assert family([]) == []


def test_a_comparison_that_could_not_be_tested_does_not_count_in_its_family() -> None:
    corrected = family([of_p(float("nan")), of_p(0.02), of_p(0.9)])
    assert np.isnan(corrected[0].holm_p)
    assert [one.holm_p for one in corrected[1:]] == pytest.approx([0.04, 0.9])


@given(ps=st.lists(st.floats(0, 1), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_holm_is_the_closure_of_bonferroni(ps: list[float]) -> None:
    # A comparison is rejected when Bonferroni rejects every subset of the family that holds it
    subsets = [s for size in range(1, len(ps) + 1) for s in combinations(range(len(ps)), size)]
    expected = [max(min(1.0, len(s) * min(ps[j] for j in s)) for s in subsets if i in s) for i in range(len(ps))]
    assert [one.holm_p for one in family([of_p(p) for p in ps])] == pytest.approx(expected)


@pytest.mark.long
@given(ps=st.lists(st.floats(0, 1), min_size=1, max_size=24))
@settings(max_examples=60, deadline=None)
def test_holm_is_that_of_statsmodels(ps: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    expected = multitest.multipletests(ps, method="holm")[1]
    assert [one.holm_p for one in family([of_p(p) for p in ps])] == pytest.approx(expected.tolist())


STARS: Mapping[float, str] = {0.0: "***", 0.00099: "***", 0.001: "**", 0.0099: "**", 0.01: "*", 0.049: "*", 0.05: "", 1.0: ""}


@pytest.mark.parametrize(("p", "marks"), STARS.items())
def test_stars_are_those_of_table_2(p: float, marks: str) -> None:
    assert stars(p) == marks


def test_what_was_not_tested_has_no_star() -> None:
    assert stars(float("nan")) == ""


def test_the_warning_says_that_backbones_are_not_independent() -> None:
    assert "not independent" in WARNING and "consistent" in WARNING
