"""One step: forward, equation 2, backward, Adam. Nothing in it waits for the device."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from training.learning.course import Course
from training.learning.devices import Way
from training.learning.feeding import Ready
from training.learning.objective import masked_loss
from training.learning.team import FEWEST, Team


def learn(course: Course, forward: nn.Module, batch: Ready, tasks: Sequence[str], way: Way, team: Team) -> Tensor:
    """Take one step on a batch; returns the sum of its losses, still on the device.

    With `accumulate` above 1 the batch is computed in as many parts and their gradients are added: the gradient is that of the whole
    batch, but for BatchNorm, which normalises each part by its own statistics, and dropout, which draws for each part.
    """
    settings, total = course.settings, None
    half = torch.autocast(batch.films.device.type, torch.bfloat16) if way.precision == "bfloat16" else nullcontext()
    course.optimiser.zero_grad(set_to_none=True)
    weight = team.weight(batch.share, batch.films_in_all, settings.reduction)
    cuts = parts(len(batch.films), settings.accumulate)
    for part in cuts:
        films, labels, known = batch[:3] if len(cuts) == 1 else (whole[part] for whole in batch[:3])
        with half:
            logits = forward(films)
        loss = masked_loss(
            logits, labels, known, tasks,
            settings.reduction, settings.squared_error, settings.ranked, settings.label_smoothing, course.weighting,
        )  # fmt: skip
        factor = weight * (len(films) / len(batch.films) if settings.reduction == "mean" else 1)
        with nullcontext() if part is cuts[-1] or team.size == 1 else forward.no_sync():
            (loss.total if factor == 1 else loss.total * factor).backward()
        for value in loss.sums.values():
            total = value.detach() if total is None else total + value.detach()
    course.step()
    assert total is not None
    return total if batch.share.copies == 1 else total / batch.share.copies


def parts(films: int, accumulate: int) -> list[slice]:
    """A batch cut into `accumulate` runs of neighbours, or fewer, so that each has the two films that BatchNorm needs."""
    number = max(1, min(accumulate, films // FEWEST))
    return [slice(films * i // number, films * (i + 1) // number) for i in range(number)]
