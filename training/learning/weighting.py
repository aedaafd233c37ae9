"""How much each task counts in the sum of equation 2. The paper weighs all alike; the other ways are options of `Training`."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from training.data.samples import Samples
from training.settings import Training

Sums = Mapping[str, Tensor]


class Equal(nn.Module):
    """The terms of the tasks as they are: equation 2 of the paper."""

    def forward(self, sums: Sums, counts: Sums) -> list[Tensor]:
        """Per task the loss summed over its samples, and how many these are → the terms of the total, in the order of `sums`."""
        return list(sums.values())

    def figures(self) -> dict[str, float]:
        """{"task_weight_<task>"} for the history; nothing where nothing is weighed."""
        return {}


class BySampleCount(Equal):
    """Each task's terms times mean(n)/n_task, n being its training samples: all tasks count alike, equal numbers give 1."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        super().__init__()
        absent = [task for task, n in counts.items() if n == 0]
        if absent:
            raise ValueError(f"no training sample of {', '.join(absent)}: task_weighting 'sample-count' needs one of every task")
        mean = sum(counts.values()) / len(counts)
        self.factors = {task: mean / n for task, n in counts.items()}

    def forward(self, sums: Sums, counts: Sums) -> list[Tensor]:
        return [self.factors[task] * term for task, term in sums.items()]

    def figures(self) -> dict[str, float]:
        return {f"task_weight_{task}": factor for task, factor in self.factors.items()}


class ByUncertainty(Equal):
    """Learned with the network: Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018.

    With s = log σ² of a task, which starts at 0, a sample of it adds exp(−s)·CE + s/2 (their equation 10), or exp(−s)/2·SE + s/2
    where the loss is a squared error (their equation 7, per output). The weight in the history is exp(−s), halved for SE.
    """

    def __init__(self, tasks: Sequence[str], squared_error: Sequence[str] = ()) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.halves = {task: 0.5 if task in squared_error else 1.0 for task in self.tasks}
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks)))

    def forward(self, sums: Sums, counts: Sums) -> list[Tensor]:
        logs = dict(zip(self.tasks, self.log_variance.unbind(), strict=True))
        return [self.halves[t] * torch.exp(-logs[t]) * term + counts[t] * logs[t] / 2 for t, term in sums.items()]

    def figures(self) -> dict[str, float]:
        learned = torch.exp(-self.log_variance.detach()).tolist()
        return {f"task_weight_{t}": self.halves[t] * weight for t, weight in zip(self.tasks, learned, strict=True)}


def weighting(settings: Training, train: Samples) -> Equal:
    """What `settings.task_weighting` asks for. A network of one task has nothing to weigh: `Equal`."""
    if len(train.tasks) == 1 or settings.task_weighting == "equal":
        return Equal()
    if settings.task_weighting == "uncertainty":
        return ByUncertainty(train.tasks, settings.squared_error)
    return BySampleCount(dict(zip(train.tasks, train.known.sum(axis=0).tolist(), strict=True)))
