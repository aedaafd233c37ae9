"""How much each task counts: alike, by its number of samples, or as learned."""

import math

import pytest
import torch

from training.data.samples import Samples, assemble
from training.learning.weighting import BySampleCount, ByUncertainty, Equal, weighting
from training.settings import Training

SUMS = {"prognosis": torch.tensor(6.0), "severity": torch.tensor(10.0)}
COUNTS = {"prognosis": torch.tensor(2), "severity": torch.tensor(5)}


def samples(first: int, second: int, tasks: tuple[str, ...] = ("prognosis", "severity")) -> Samples:
    labels = [{"prognosis": 0}] * first + [{"severity": 1}] * second
    film = torch.zeros(4, 4, dtype=torch.uint8).numpy()
    return assemble([film] * len(labels), [str(i) for i in range(len(labels))], labels, tasks)


def chosen(kind: str, data: Samples) -> Equal:
    return weighting(Training(task_weighting=kind), data)


def test_equal_is_equation_2_and_one_task_is_never_weighed() -> None:
    assert chosen("equal", samples(2, 8))(SUMS, COUNTS) == [SUMS["prognosis"], SUMS["severity"]]
    for kind in ("uncertainty", "sample-count"):
        assert type(chosen(kind, samples(3, 0, ("prognosis",)))) is Equal


def test_by_sample_count_makes_tasks_count_alike_and_equal_numbers_change_nothing() -> None:
    by_count = chosen("sample-count", samples(2, 8))
    assert by_count.figures() == {"task_weight_prognosis": 2.5, "task_weight_severity": 0.625}
    assert [float(term) for term in by_count(SUMS, COUNTS)] == [15.0, 6.25]
    assert set(chosen("sample-count", samples(5, 5)).figures().values()) == {1.0}
    with pytest.raises(ValueError, match="no training sample of severity"):
        BySampleCount({"prognosis": 3, "severity": 0})


def test_uncertainty_starts_as_equation_2_and_its_optimum_is_the_log_of_twice_the_mean_loss() -> None:
    """d/ds [exp(−s)·L + n·s/2] = 0 at s = ln(2L/n): 2·6/2 = 6 and 2·10/5 = 4."""
    learned = chosen("uncertainty", samples(2, 8))
    assert isinstance(learned, ByUncertainty)
    assert [term.item() for term in learned(SUMS, COUNTS)] == [6.0, 10.0]
    optimiser = torch.optim.Adam(learned.parameters(), 0.05)
    for _ in range(800):
        optimiser.zero_grad()
        torch.stack(learned(SUMS, COUNTS)).sum().backward()
        optimiser.step()
    assert learned.log_variance.tolist() == pytest.approx([math.log(6), math.log(4)], abs=0.01)
    assert learned.figures()["task_weight_prognosis"] == pytest.approx(1 / 6, rel=0.02)
