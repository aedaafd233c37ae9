"""Equation 2 of the paper: cross-entropy of every task, masked by the indicator of who knows that task, summed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Weigh = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Loss:
    """`total` is what is minimised; `sums` and `counts` are per task, over the samples that know it."""

    total: Tensor
    sums: dict[str, Tensor]
    counts: dict[str, Tensor]


def masked_loss(
    logits: Mapping[str, Tensor],
    labels: Tensor,
    known: Tensor,
    tasks: Sequence[str],
    reduction: str = "sum",
    squared_error: Sequence[str] = (),
    ranked: Sequence[str] = (),
    label_smoothing: float = 0.0,
    weigh: Weigh | None = None,
) -> Loss:
    """L = Σ_i Σ_j I(X_i, τ_j) · CE(O_i^τj, Y_i^τj), for any number of tasks j.

    logits  {task: (B, C_task)}; labels (B, T) class indices, any value where unknown; known (B, T) bool, the indicator I;
    columns of both are in the order of `tasks`. `reduction` "sum" is the equation, "mean" divides it by |X| = B.
    A batch without a sample of some task adds exactly zero, and zero gradient, for it.

    Beyond the paper: tasks named in `squared_error` have, when there are several tasks, the squared error between outputs and one-hot,
    averaged over the classes, in place of CE (the authors' loss of τ1 in MDMT; their STL has CE). Tasks named in `ranked` have the ranked
    probability score. `label_smoothing` is that of CE.
    `weigh` (sums, counts) → terms of the total; None: the sums as they are.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction {reduction!r}: use 'sum' (equation 2) or 'mean'")
    squared = set(squared_error) if len(tasks) > 1 else set()
    sums, counts = {}, {}
    for j, task in enumerate(tasks):
        indicator = known[:, j]
        target = torch.where(indicator, labels[:, j], 0)  # any valid class: the indicator removes it
        outputs = logits[task].float()
        if task in squared:
            per_sample = (outputs - functional.one_hot(target, outputs.shape[1])).square().mean(1)  # (B,)
        elif task in ranked:
            per_sample = ranked_probability_score(outputs, target)
        else:
            per_sample = functional.cross_entropy(outputs, target, reduction="none", label_smoothing=label_smoothing)
        sums[task] = torch.where(indicator, per_sample, 0.0).sum()
        counts[task] = indicator.sum()
    total = torch.stack(weigh(sums, counts) if weigh else list(sums.values())).sum()
    return Loss(total / len(labels) if reduction == "mean" else total, sums, counts)


def ranked_probability_score(logits: Tensor, target: Tensor) -> Tensor:
    """Logits (B, C) of ordered classes and the true ones (B,) → (B,): squared distance of the two cumulative distributions, summed.

    Epstein, "A scoring system for probability forecasts of ranked categories", 1969: an answer that is further off costs more. Between 0
    and C − 1, proper, and for C = 2 half of Brier's score.
    """
    truth = functional.one_hot(target, logits.shape[1])
    return (logits.softmax(1) - truth).cumsum(1)[:, :-1].square().sum(1)
