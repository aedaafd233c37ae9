"""Equation 2: its numbers by hand, its masking, and its agreement with a naive double sum for any number of tasks."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.learning.objective import masked_loss, ranked_probability_score

# Odds that make the softmax exact: ln 3 against 0 is 3/4 and 1/4; ln 2 beside three zeros is 2/5 and 1/5 each.
PROGNOSIS = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0], [7.0, -7.0]])
SEVERITY = torch.tensor([[5.0, 1.0, 2.0, 3.0], [math.log(2), 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
LABELS = torch.tensor([[1, 0], [1, 0], [0, 3]])
KNOWN = torch.tensor([[True, False], [True, True], [False, True]])
TASKS = ("prognosis", "severity")


def by_hand() -> tuple[float, float]:
    """−ln 3/4 − ln 1/4 for the first two films, −ln 2/5 − ln 1/4 for the last two."""
    return -math.log(3 / 4) - math.log(1 / 4), -math.log(2 / 5) - math.log(1 / 4)


def test_the_loss_is_the_sum_over_films_and_tasks_that_are_known() -> None:
    loss = masked_loss({"prognosis": PROGNOSIS, "severity": SEVERITY}, LABELS, KNOWN, TASKS)
    prognosis, severity = by_hand()
    assert loss.sums["prognosis"].item() == pytest.approx(prognosis)
    assert loss.sums["severity"].item() == pytest.approx(severity)
    assert loss.total.item() == pytest.approx(prognosis + severity) == pytest.approx(3.97656, abs=1e-5)
    assert {name: int(count) for name, count in loss.counts.items()} == {"prognosis": 2, "severity": 2}


def test_the_mean_divides_by_the_films_of_the_batch_and_not_by_the_labels() -> None:
    loss = masked_loss({"prognosis": PROGNOSIS, "severity": SEVERITY}, LABELS, KNOWN, TASKS, "mean")
    assert loss.total.item() == pytest.approx(sum(by_hand()) / 3)


def test_another_reduction_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'none'.*'sum'.*'mean'"):
        masked_loss({"prognosis": PROGNOSIS, "severity": SEVERITY}, LABELS, KNOWN, TASKS, "none")


def test_unknown_labels_may_hold_anything() -> None:
    logits = {"prognosis": PROGNOSIS, "severity": SEVERITY}
    garbage = torch.where(KNOWN, LABELS, torch.tensor([[-100, 10**12], [4, -1], [99, -(2**63)]]))
    assert torch.equal(masked_loss(logits, garbage, KNOWN, TASKS).total, masked_loss(logits, LABELS, KNOWN, TASKS).total)


def test_a_batch_without_a_film_of_a_task_adds_exactly_no_loss_and_no_gradient_for_it() -> None:
    prognosis, severity = PROGNOSIS.clone().requires_grad_(), (SEVERITY * 1e3).requires_grad_()
    known = torch.tensor([[True, False]] * 3)
    loss = masked_loss({"prognosis": prognosis, "severity": severity}, LABELS, known, TASKS)
    loss.total.backward()
    assert loss.sums["severity"].item() == 0.0
    assert int(loss.counts["severity"]) == 0
    assert severity.grad is not None
    assert torch.count_nonzero(severity.grad) == 0
    assert prognosis.grad is not None
    assert (prognosis.grad.abs().sum(dim=1) > 0).all()


def test_a_film_gives_gradient_to_the_heads_it_has_labels_for_and_to_no_other() -> None:
    logits = {"prognosis": PROGNOSIS.clone().requires_grad_(), "severity": SEVERITY.clone().requires_grad_()}
    masked_loss(logits, LABELS, KNOWN, TASKS).total.backward()
    for j, task in enumerate(TASKS):
        assert ((logits[task].grad != 0).any(dim=1) == KNOWN[:, j]).all()


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """1-4 tasks of 2-5 classes, 1-6 films, any pattern of known labels."""
    classes = draw(st.lists(st.integers(2, 5), min_size=1, max_size=4))
    films = draw(st.integers(1, 6))
    source = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    logits = {f"task{j}": 4 * torch.randn(films, c, generator=source) for j, c in enumerate(classes)}
    labels = torch.stack([torch.randint(c, (films,), generator=source) for c in classes], dim=1)
    row = st.lists(st.booleans(), min_size=len(classes), max_size=len(classes))
    known = torch.tensor(draw(st.lists(row, min_size=films, max_size=films)))
    return logits, labels, known


@settings(max_examples=60, deadline=None)
@given(batches())
def test_any_number_of_tasks_agrees_with_a_double_loop(batch: tuple[dict[str, Tensor], Tensor, Tensor]) -> None:
    logits, labels, known = batch
    expected = 0.0
    for i in range(len(labels)):
        for j, rows in enumerate(logits.values()):
            if known[i, j]:
                odds = [math.exp(float(value)) for value in rows[i]]
                expected -= math.log(odds[labels[i, j]] / sum(odds))
    loss = masked_loss(logits, labels, known, tuple(logits))
    assert loss.total.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert sum(int(n) for n in loss.counts.values()) == int(known.sum())


@settings(max_examples=20, deadline=None)
@given(batches())
def test_the_order_in_which_tasks_are_given_decides_the_columns_only(batch: tuple[dict[str, Tensor], Tensor, Tensor]) -> None:
    logits, labels, known = batch
    turned = tuple(reversed(tuple(logits)))
    there = masked_loss(logits, labels, known, tuple(logits))
    back = masked_loss(logits, labels.flip(1), known.flip(1), turned)
    assert back.total.item() == pytest.approx(there.total.item(), rel=1e-5, abs=1e-6)
    assert all(torch.equal(there.sums[task], back.sums[task]) for task in turned)


def test_squared_error_replaces_cross_entropy_in_networks_of_several_tasks_only() -> None:
    """First film: outputs (0, ln 3), target 1 → (0² + (ln 3 − 1)²)/2; second: (ln 3, 0) → ((ln 3)² + 1)/2."""
    outputs = {"prognosis": PROGNOSIS, "severity": SEVERITY}
    loss = masked_loss(outputs, LABELS, KNOWN, TASKS, squared_error=("prognosis",))
    third = math.log(3)
    assert loss.sums["prognosis"].item() == pytest.approx((third - 1) ** 2 / 2 + (third**2 + 1) / 2)
    assert loss.sums["severity"].item() == pytest.approx(by_hand()[1])
    alone = masked_loss({"prognosis": PROGNOSIS}, LABELS[:, :1], KNOWN[:, :1], ("prognosis",), squared_error=("prognosis",))
    assert alone.sums["prognosis"].item() == pytest.approx(by_hand()[0])


def test_label_smoothing_is_that_of_cross_entropy_and_off_by_default() -> None:
    smooth = masked_loss({"prognosis": PROGNOSIS}, LABELS[:, :1], KNOWN[:, :1], ("prognosis",), label_smoothing=0.2)
    expected = torch.nn.functional.cross_entropy(PROGNOSIS[:2], LABELS[:2, 0], reduction="sum", label_smoothing=0.2)
    assert smooth.sums["prognosis"].item() == pytest.approx(expected.item())


def test_the_authors_total_is_the_mean_of_both_up_to_a_constant_without_gradient() -> None:
    """Their heads see masked outputs and labels of the whole batch: MSE for τ1, cross-entropy to one-hot for τ2, means over the batch."""
    ours, theirs = (
        {"prognosis": PROGNOSIS.clone().requires_grad_(), "severity": SEVERITY.clone().requires_grad_()} for _ in "ab"
    )
    masked_loss(ours, LABELS, KNOWN, TASKS, "mean", squared_error=("prognosis",)).total.backward()
    knows = KNOWN.float()
    first = torch.nn.functional.one_hot(LABELS[:, 0], 2) * knows[:, :1]
    second = torch.nn.functional.one_hot(LABELS[:, 1], 4) * knows[:, 1:]
    squares = torch.nn.functional.mse_loss(theirs["prognosis"] * knows[:, :1], first.float())
    (squares + torch.nn.functional.cross_entropy(theirs["severity"] * knows[:, 1:], second.float())).backward()
    for task in TASKS:
        torch.testing.assert_close(ours[task].grad, theirs[task].grad)


def test_the_total_is_made_of_the_weighed_terms_and_the_sums_stay_as_they_are() -> None:
    loss = masked_loss(
        {"prognosis": PROGNOSIS, "severity": SEVERITY}, LABELS, KNOWN, TASKS, "mean",
        weigh=lambda sums, counts: [2 * sums["prognosis"], counts["severity"] * sums["severity"]],
    )  # fmt: skip
    prognosis, severity = by_hand()
    assert loss.total.item() == pytest.approx((2 * prognosis + 2 * severity) / 3)
    assert loss.sums["prognosis"].item() == pytest.approx(prognosis)


def test_the_ranked_score_costs_more_the_further_off() -> None:
    logits = 20 * torch.eye(4)
    costs = ranked_probability_score(logits, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(costs, torch.tensor([0.0, 1.0, 2.0, 3.0]), atol=1e-5, rtol=0)


def test_the_ranked_score_of_two_classes_is_half_of_briers() -> None:
    logits, target = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    brier = (logits.softmax(1) - torch.eye(2)[target]).square().sum(1)
    torch.testing.assert_close(ranked_probability_score(logits, target), brier / 2)


def test_only_the_tasks_named_are_ranked() -> None:
    logits = {"severity": torch.randn(3, 4), "prognosis": torch.randn(3, 2)}
    labels, known = torch.tensor([[1, 0], [3, 1], [0, 1]]), torch.ones(3, 2, dtype=torch.bool)
    plain, ranked = (masked_loss(logits, labels, known, ("severity", "prognosis"), ranked=r) for r in ((), ("severity",)))
    assert plain.sums["prognosis"] == ranked.sums["prognosis"]
    torch.testing.assert_close(ranked.sums["severity"], ranked_probability_score(logits["severity"], labels[:, 0]).sum())
