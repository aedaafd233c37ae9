"""The best that any method can reach on phantoms is what a simulation without the code under test reaches."""

import numpy as np
import pytest
from scipy.special import expit

from training.data.cohorts.phantom import bayes_accuracy, bayes_probability
from training.data.cohorts.phantom.severity import OUTCOMES, ZONE_COUNTS, intercepts


def simulated(n: int, loading: float, link: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Zone scores, centres and outcomes of n patients, drawn without any of the code under test but its constants."""
    rng = np.random.default_rng(1)
    s = rng.standard_normal(n)
    latent = loading * s[:, None] + np.sqrt(1 - loading**2) * rng.standard_normal((n, 6))
    # the empirical quantiles of the latent variable, not a formula, give the published marginals
    bounds = np.cumsum(ZONE_COUNTS, axis=1)[:, :3] / np.sum(ZONE_COUNTS, axis=1, keepdims=True)
    scores = np.stack([np.searchsorted(np.quantile(latent[:, k], bounds[k]), latent[:, k]) for k in range(6)], axis=1)
    films = np.array([sum(counts) for counts in OUTCOMES.values()])
    centre = rng.choice(list(OUTCOMES), size=n, p=films / films.sum())
    offset = np.array([intercepts(link)[c] for c in centre])
    return scores, centre, rng.random(n) < expit(link * s + offset)


@pytest.mark.parametrize(("loading", "link"), [(0.8, 2.0), (0.6, 4.0)])
def test_the_bayes_bound_is_what_a_brute_force_simulation_reaches(loading: float, link: float) -> None:
    scores, centre, severe = simulated(40_000, loading, link)
    p = bayes_probability(scores, centre, loading, link)
    assert ((p >= 0.5) == severe).mean() == pytest.approx(bayes_accuracy(loading, link), abs=0.008)
    for low in np.arange(0, 1, 0.2):
        inside = (p >= low) & (p < low + 0.2)
        assert severe[inside].mean() == pytest.approx(p[inside].mean(), abs=0.025)
    clear = (scores == 0).all(axis=1) & (centre == "F")
    assert severe[clear].mean() == pytest.approx(p[clear].mean(), abs=0.03)
    for name, (mild, bad) in OUTCOMES.items():
        assert severe[centre == name].mean() == pytest.approx(bad / (mild + bad), abs=0.03)


def test_without_a_link_the_outcome_depends_on_the_centre_alone() -> None:
    base = {centre: bad / (mild + bad) for centre, (mild, bad) in OUTCOMES.items()}
    rng = np.random.default_rng(0)
    scores, centres = rng.integers(4, size=(300, 6)), list(rng.choice(list(OUTCOMES), 300))
    np.testing.assert_allclose(bayes_probability(scores, centres, 0.8, 0.0), [base[centre] for centre in centres], atol=1e-9)
    films = sum(mild + bad for mild, bad in OUTCOMES.values())
    most_frequent = sum(max(counts) for counts in OUTCOMES.values())
    assert bayes_accuracy(0.8, 0.0) == pytest.approx(most_frequent / films, abs=1e-9)
    scores, centre, severe = simulated(40_000, 0.8, 0.0)
    ill = scores.sum(axis=1) > 8
    for name in OUTCOMES:
        assert severe[(centre == name) & ill].mean() == pytest.approx(severe[(centre == name) & ~ill].mean(), abs=0.06)


def test_no_rule_on_the_global_score_beats_the_bayes_bound() -> None:
    scores, _, severe = simulated(40_000, 0.8, 2.0)
    best = max(((scores.sum(axis=1) >= cut) == severe).mean() for cut in range(19))
    assert 0.6 < best < bayes_accuracy(0.8, 2.0)


def test_an_unknown_centre_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no prevalence is known for centre Z; known: A, B"):
        bayes_probability(np.zeros((1, 6), dtype=int), ["Z"], 0.8, 2.0)
