"""How much each task counts: alike, by its number of films, or as learned."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.training.learning.test_mixing import two_sets
from tests.training.learning.tiny import tiny_network, tiny_samples, training
from training.learning.fitting import fit
from training.learning.objective import masked_loss
from training.learning.weighting import BySampleCount, ByUncertainty, Equal, weighting

SUMS = {"prognosis": torch.tensor(3.0), "severity": torch.tensor(5.0)}
COUNTS = {"prognosis": torch.tensor(2), "severity": torch.tensor(7)}


def test_equal_weights_leave_the_sums_as_they_are() -> None:
    assert [float(term) for term in Equal()(SUMS, COUNTS)] == [3.0, 5.0]
    assert Equal().figures() == {}


def test_by_sample_count_every_task_has_the_same_share_and_the_sum_of_all_stays() -> None:
    weigh = weighting(training(task_weighting="sample-count"), two_sets(10, 30))
    assert weigh.figures() == {"task_weight_prognosis": 2.0, "task_weight_severity": pytest.approx(2 / 3)}
    assert [float(term) for term in weigh(SUMS, COUNTS)] == pytest.approx([6.0, 10 / 3])


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=6))
def test_by_sample_count_the_weighted_numbers_are_all_the_mean_and_equal_numbers_give_one(counts: list[int]) -> None:
    factors = BySampleCount({f"t{i}": n for i, n in enumerate(counts)}).figures().values()
    assert np.allclose([f * n for f, n in zip(factors, counts, strict=True)], np.mean(counts))
    assert list(BySampleCount({"a": counts[0], "b": counts[0]}).figures().values()) == [1.0, 1.0]


def test_a_task_without_a_training_sample_cannot_be_weighed_by_their_number() -> None:
    with pytest.raises(ValueError, match="no training sample of severity"):
        weighting(training(task_weighting="sample-count"), two_sets(4, 0))


def test_uncertainty_starts_at_the_equal_weights_and_follows_the_published_formula() -> None:
    weigh = ByUncertainty(("prognosis", "severity"), squared_error=("prognosis",))
    assert [term.item() for term in weigh(SUMS, COUNTS)] == [1.5, 5.0]
    with torch.no_grad():
        weigh.log_variance.copy_(torch.tensor([0.4, -0.2]))
    expected = [math.exp(-0.4) / 2 * 3 + 2 * 0.4 / 2, math.exp(0.2) * 5 + 7 * -0.2 / 2]
    assert [term.item() for term in weigh(SUMS, COUNTS)] == pytest.approx(expected)
    assert list(weigh.figures().values()) == pytest.approx([math.exp(-0.4) / 2, math.exp(0.2)])


@given(st.floats(0.05, 5), st.floats(0.05, 5))
@hypothesis_settings(max_examples=5, deadline=None)
def test_for_fixed_losses_the_learned_weights_settle_where_the_formula_has_its_minimum(first: float, second: float) -> None:
    weigh = ByUncertainty(("a", "b"))
    optimiser = torch.optim.Adam(weigh.parameters(), 0.05)
    sums, counts = {"a": torch.tensor(10 * first), "b": torch.tensor(10 * second)}, {"a": torch.tensor(10), "b": torch.tensor(10)}
    for _ in range(600):
        optimiser.zero_grad()
        torch.stack(weigh(sums, counts)).sum().backward()
        optimiser.step()
    assert list(weigh.figures().values()) == pytest.approx([1 / (2 * first), 1 / (2 * second)], rel=0.02)


def test_a_batch_without_a_film_of_a_task_leaves_its_uncertainty_alone() -> None:
    weigh = ByUncertainty(("prognosis", "severity"))
    logits = {"prognosis": torch.randn(3, 2, requires_grad=True), "severity": torch.randn(3, 4, requires_grad=True)}
    known = torch.tensor([[True, False]] * 3)
    masked_loss(logits, torch.zeros(3, 2, dtype=torch.long), known, tuple(logits), weigh=weigh).total.backward()
    assert weigh.log_variance.grad is not None
    assert weigh.log_variance.grad[0] != 0
    assert weigh.log_variance.grad[1] == 0


@pytest.mark.parametrize("way", ["uncertainty", "sample-count"])
def test_a_network_of_one_task_has_nothing_to_weigh(way: str) -> None:
    assert type(weighting(training(task_weighting=way), tiny_samples(tasks=("prognosis",)))) is Equal


def test_learned_weights_change_over_training_and_stand_in_the_history_and_equal_ones_do_not() -> None:
    learned = fit(tiny_network(), tiny_samples(), tiny_samples(6, 1), training(task_weighting="uncertainty"), 0).history
    assert learned[0]["task_weight_prognosis"] != learned[1]["task_weight_prognosis"]
    plain = fit(tiny_network(), tiny_samples(), tiny_samples(6, 1), training(), 0).history
    assert not [name for name in plain[0] if "weight" in name]
