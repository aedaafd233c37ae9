"""Equation 2 of the paper: cross-entropy of every task, masked by the indicator of who knows that task, summed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Loss:
    """`total` is what is minimised; `sums` and `counts` are per task, over the samples that know it."""

    total: Tensor
    sums: dict[str, Tensor]
    counts: dict[str, Tensor]


def masked_cross_entropy(
    logits: Mapping[str, Tensor], labels: Tensor, known: Tensor, tasks: Sequence[str], reduction: str = "sum"
) -> Loss:
    """L = Σ_i Σ_j I(X_i, τ_j) · CE(O_i^τj, Y_i^τj), for any number of tasks j.

    logits  {task: (B, C_task)}; labels (B, T) class indices, any value where unknown; known (B, T) bool, the indicator I;
    columns of both are in the order of `tasks`. `reduction` "sum" is the equation, "mean" divides it by |X| = B.
    A batch without a sample of some task adds exactly zero, and zero gradient, for it.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction {reduction!r}: use 'sum' (equation 2) or 'mean'")
    sums, counts = {}, {}
    for j, task in enumerate(tasks):
        indicator = known[:, j]
        target = torch.where(indicator, labels[:, j], 0)  # any valid class: the indicator removes it
        per_sample = functional.cross_entropy(logits[task].float(), target, reduction="none")  # (B,)
        sums[task] = torch.where(indicator, per_sample, 0.0).sum()
        counts[task] = indicator.sum()
    total = torch.stack(list(sums.values())).sum()
    return Loss(total / len(labels) if reduction == "mean" else total, sums, counts)
