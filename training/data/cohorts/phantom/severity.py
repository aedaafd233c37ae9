"""How ill the patients are, what their films show, and how well anyone could tell the outcome from a film.

One severity s ~ N(0, 1) per film. Zone k of the Brixia score (A-F) is an ordinal probit of z = loading·s + √(1 − loading²)·ε with
cut points that reproduce the marginal counts of the published cohort; P(SEVERE | s, centre) = sigmoid(link·s + intercept) with
intercepts that reproduce the published share of SEVERE per centre. Everything else in a film (devices, supine position, style)
depends on the zone scores and the centre only, so the posterior given those two is the best answer that a film allows.
"""

import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Films with score 0, 1, 2, 3 in zones A-F of BRIXIA (counted from the authors' public split files, 4,695 films).
ZONE_COUNTS = (
    (2119, 1517, 718, 341),
    (936, 1237, 1524, 998),
    (524, 1050, 1740, 1381),
    (2572, 1381, 542, 200),
    (998, 1204, 1499, 994),
    (549, 1007, 1627, 1512),
)
# MILD and SEVERE films of AIforCOVID per centre, all releases (same source, 1,585 films).
OUTCOMES = {"A": (35, 85), "B": (59, 45), "C": (70, 81), "D": (76, 63), "E": (55, 46), "F": (544, 426)}

_GRID = np.linspace(-6.0, 6.0, 241)
_PRIOR = np.exp(-(_GRID**2) / 2) / np.exp(-(_GRID**2) / 2).sum()


@cache
def cut_points() -> Floats:
    """Thresholds of the latent opacity between scores 0|1, 1|2 and 2|3, shape (6 zones, 3), increasing along the last axis."""
    counts = np.array(ZONE_COUNTS, dtype=np.float64)
    return np.asarray(ndtri(counts.cumsum(axis=1)[:, :3] / counts.sum(axis=1, keepdims=True)))


def zone_probabilities(s: Floats, loading: float) -> Floats:
    """P(score | s), shape (len(s), 6 zones, 4 scores); the last axis sums to 1."""
    below = ndtr((cut_points() - loading * s[:, None, None]) / np.sqrt(1 - loading**2))
    return np.diff(below, axis=2, prepend=0.0, append=1.0)


def draw_zones(s: float, loading: float, rng: np.random.Generator) -> tuple[int, ...]:
    """Six zone scores of 0..3 for one film of severity s."""
    latent = loading * s + np.sqrt(1 - loading**2) * rng.standard_normal(6)
    return tuple(int(n) for n in (latent[:, None] > cut_points()).sum(axis=1))


@cache
def intercepts(link: float) -> dict[str, float]:
    """Centre → intercept (log odds) at which the share of SEVERE, averaged over s, is the published one. By bisection."""
    solved = {}
    for centre, (mild, severe) in OUTCOMES.items():
        low, high = -50.0, 50.0
        for _ in range(80):
            middle = (low + high) / 2
            too_few = float(_PRIOR @ expit(link * _GRID + middle)) < severe / (mild + severe)
            low, high = (middle, high) if too_few else (low, middle)
        solved[centre] = (low + high) / 2
    return solved


def bayes_probability(scores: NDArray[np.integer], centres: Sequence[str], loading: float, link: float) -> Floats:
    """P(SEVERE | zone scores, centre) for n films: scores (n, 6) of 0..3, centres n of A-F → (n,) in 0..1.

    The posterior of s is summed on a grid of 241 points over ±6 standard deviations.
    """
    unknown = sorted(set(centres) - set(OUTCOMES))
    if unknown:
        raise ValueError(f"no prevalence is known for centre {', '.join(unknown)}; known: {', '.join(OUTCOMES)}")
    log_likelihood = np.log(zone_probabilities(_GRID, loading) + 1e-300)
    table = np.asarray(scores)
    evidence = np.sum([log_likelihood[:, zone, table[:, zone]] for zone in range(6)], axis=0)  # grid, film
    weight = np.exp(evidence) * _PRIOR[:, None]
    known = intercepts(link)
    risk = expit(link * _GRID[:, None] + np.array([known[c] for c in centres])[None, :])
    return np.asarray((weight * risk).sum(axis=0) / weight.sum(axis=0))


def bayes_accuracy(loading: float, link: float) -> float:
    """Highest accuracy that prognosis from zone scores and centre can reach in the population, 0.5..1.

    Exact: sums max(p, 1 − p) over all 4⁶ patterns of scores and the six centres in their published shares. With a link of 0 it is
    what naming each centre's more frequent outcome reaches, 900 of 1,585.
    """
    patterns = np.array(list(itertools.product(range(4), repeat=6)))
    picked = zone_probabilities(_GRID, loading)[:, np.arange(6), patterns]  # grid, pattern, zone
    share = _PRIOR @ picked.prod(axis=2)
    films = sum(sum(counts) for counts in OUTCOMES.values())
    total = 0.0
    for centre, counts in OUTCOMES.items():
        p = bayes_probability(patterns, [centre] * len(patterns), loading, link)
        total += sum(counts) / films * float(share @ np.maximum(p, 1 - p))
    return total
