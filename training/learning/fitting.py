"""The training loop, visible on one screen. Everything random in it is a function of (seed, epoch, sample): an epoch can be repeated."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augmentation import augment
from training.data.samples import Samples
from training.learning.course import Course
from training.learning.mixing import cut, epoch_batches
from training.learning.network import Network
from training.learning.objective import masked_loss
from training.learning.team import ALONE, Team
from training.learning.weighting import weighting
from training.settings import Training

Progress = Callable[[int, dict[str, float]], None]
_NEXT_PASS = np.uint64(0x9E3779B97F4A7C15)  # odd: a film that comes again within an epoch is augmented as if it were another


@dataclass
class Fit:
    """The network with its best weights, the epoch they are from (1-based), and every epoch's figures."""

    network: Network
    best_epoch: int
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    network: Network,
    train: Samples,
    val: Samples,
    settings: Training,
    seed: int,
    progress: Progress | None = None,
    checkpoints: Path | None = None,
    device: str = "cpu",
    keep_going: Callable[[], None] | None = None,
    identity: str = "",
    team: Team = ALONE,
) -> Fit:
    """Train until validation stops improving; the lowest validation loss wins (paper section 3.2).

    The first `warmup_epochs` never count: neither as best nor as "no improvement" (that is what the authors' code means by warm-up);
    with `warmup="linear"` the learning rate also rises over them.

    With a folder for `checkpoints` every epoch but the last is written there, and a training killed before goes on where it was: on a
    CPU with the same number of threads to the bit. `identity` (the unit's fingerprint) says whose checkpoint it is; another one's is
    refused (ForeignCheckpoint). A full disk raises DiskFull; the same call goes on later. `progress` hears each epoch once, and again
    only the one that was killed before its checkpoint was written. `keep_going` is called before every batch and every checkpoint,
    should take no time, and stops the training by raising. One of a `team` does its part of every batch, and rank 0 the writing;
    all of them have equal results (see `fit_together`, which starts them).
    """
    if checkpoints and not identity:
        raise ValueError("checkpoints need an identity, which decides who may go on from them: pass the unit's fingerprint")
    network.to(device, memory_format=torch.channels_last)
    course = Course(network, weighting(settings, train).to(device), settings)
    if checkpoints:
        team.in_turn(lambda: course.resume(checkpoints, identity))
    pause = keep_going or nobody_stops
    while not course.finished:
        rate = course.set_learning_rate()
        figures = _train_epoch(course, train, seed, pause, team)
        figures |= evaluate_loss(network, val, settings, team)
        figures |= {"learning_rate": rate} | course.weighting.figures()
        if not math.isfinite(figures["train_loss"] + figures["val_loss"]):
            raise FloatingPointError(
                f"the loss is not finite in epoch {course.epoch + 1}: lower learning_rate ({settings.learning_rate})"
            )
        course.history.append(figures)
        if progress:
            progress(course.epoch + 1, figures)
        course.close_epoch(figures)
        if checkpoints and not course.finished:
            pause()
            if team.rank == 0:
                course.save(checkpoints, identity)
    network.load_state_dict(course.best_weights)
    return Fit(network, course.best_epoch, course.history)


def nobody_stops() -> None:
    """What stops a training that nobody stops."""


def _train_epoch(course: Course, train: Samples, seed: int, pause: Callable[[], None], team: Team) -> dict[str, float]:
    network, settings, epoch = course.network, course.settings, course.epoch + 1
    device = network.device
    network.train()
    forward = team.wrap(network, course.weighting)
    torch.manual_seed(team.stream(seed * 1_000_003 + epoch))  # dropout: the epoch, not the history, decides
    total, seen = torch.zeros((), device=device), 0
    for batch, passes in epoch_batches(train, settings.batch_size, settings.mixing, seed, epoch):
        pause()
        share = team.share(len(batch))
        rows = batch[share.places]
        keys = train.keys[rows] + passes[share.places] * _NEXT_PASS
        films = augment(_on(device, train.films[rows])[:, None], keys, seed, epoch, settings.augmentation)
        labels, known = _on(device, train.labels[rows]), _on(device, train.known[rows])
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            logits = forward(films.contiguous(memory_format=torch.channels_last))
        loss = masked_loss(
            logits, labels, known, train.tasks,
            settings.reduction, settings.squared_error, settings.label_smoothing, course.weighting,
        )  # fmt: skip
        course.optimiser.zero_grad(set_to_none=True)
        (loss.total * team.weight(share, len(batch), settings.reduction)).backward()
        course.optimiser.step()
        total += torch.stack(list(loss.sums.values())).sum().detach() / share.copies
        seen += int(train.known[batch].sum())
    team.average_statistics(network)
    return {"train_loss": float(team.total(total)) / max(seen, 1)}


def _on(device: torch.device, array: NDArray[np.generic]) -> Tensor:
    """Array → tensor on the device; to a GPU from pinned memory, so that the copy does not hold up the host."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@torch.inference_mode()
def predict(
    network: Network, films: NDArray[np.uint8], batch_size: int = 64, team: Team = ALONE
) -> dict[str, NDArray[np.float32]]:
    """Films (N, S, S) uint8 → {task: (N, classes) logits}, in evaluation mode, computed where the network is."""
    network.eval()
    starts = team.turns(range(0, len(films), batch_size))
    pieces = team.gather({i: network(_on(network.device, films[i : i + batch_size])[:, None]) for i in starts})
    return {task.name: torch.cat([piece[task.name] for piece in pieces]).float().cpu().numpy() for task in network.tasks}


def evaluate_loss(network: Network, val: Samples, settings: Training, team: Team = ALONE) -> dict[str, float]:
    """{"val_loss": sum over tasks of the mean loss, "val_loss_<task>", "val_accuracy_<task>"}.

    A mean per task, so that the larger data set does not decide alone when to stop. The loss of a task is that of training (cross-
    entropy or squared error), without label smoothing and task weights: runs that differ in these stay comparable.
    """
    logits = {name: torch.from_numpy(rows) for name, rows in predict(network, val.films, team=team).items()}
    known, labels = torch.from_numpy(val.known), torch.from_numpy(val.labels)
    loss = masked_loss(logits, labels, known, val.tasks, squared_error=settings.squared_error)
    figures = {f"val_loss_{t}": float(loss.sums[t] / loss.counts[t]) for t in val.tasks if loss.counts[t]}
    for j, task in enumerate(val.tasks):
        if loss.counts[task]:
            right = (logits[task].argmax(1) == labels[:, j])[known[:, j]]
            figures[f"val_accuracy_{task}"] = float(right.float().mean())
    monitored = [f"val_loss_{t}" for t in val.tasks] if settings.monitor not in val.tasks else [f"val_loss_{settings.monitor}"]
    figures["val_loss"] = sum(figures[name] for name in monitored)
    return figures


@torch.no_grad()
def reestimate_batch_norm(network: Network, films: NDArray[np.uint8], batch_size: int) -> None:
    """Recompute the running mean and variance of every BatchNorm layer on `films`, as a plain average over batches.

    The average of two networks' statistics is not the statistics of the averaged network.
    """
    layers = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
    network.train()
    for batch in cut(np.arange(len(films)), batch_size):
        network(_on(network.device, films[batch])[:, None])
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
