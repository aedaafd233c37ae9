"""The training loop, visible on one screen. Everything random in it is a function of (seed, epoch, sample): an epoch can be repeated."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.data.rows import FilmRows
from training.data.samples import Samples
from training.learning.checkpoint import Writer
from training.learning.course import Course
from training.learning.devices import Way, must_run_on, switched, way_of
from training.learning.feeding import Feed, on_device
from training.learning.mixing import cut
from training.learning.network import Network
from training.learning.objective import masked_loss
from training.learning.stepping import learn
from training.learning.team import ALONE, Team
from training.learning.weighting import weighting
from training.settings import Training

Progress = Callable[[int, dict[str, float]], None]
# Films at a time in evaluation, by device. A forward pass keeps two layers where a step keeps all, so a GPU has room for twice the paper's
# batch. On a CPU more films cost less each: shufflenet_v2_x0_5 at 96 px, one thread, 1.77, 1.51, 1.36, 1.24 ms of CPU for 32, 64, 128, 256
# at a time, resnet18 13.1, 12.8, 12.8, 12.2. It stays at 64 there: another number moves the last bits (4e-7) of the one or two films that
# are left over, and so results of units that are done.
EVALUATED = {"cpu": 64, "cuda": 256}


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
    way: Way | None = None,
) -> Fit:
    """Train until validation stops improving; the lowest validation loss wins (paper section 3.2).

    The first `warmup_epochs` never count: neither as best nor as "no improvement" (that is what the authors' code means by warm-up);
    with `warmup="linear"` the learning rate also rises over them. With `averaging` it is the average of the weights that is validated, kept
    and returned.

    Batches are prepared beside the step where a core or a GPU is to spare (`Feed`). `way` is how the step computes, None: as `settings`
    says, which "auto" leaves open.

    With a folder for `checkpoints` every epoch but the last is written there, beside the epoch after it, and a training killed before
    goes on where it was: on a CPU with the same number of threads to the bit. `identity` (the unit's fingerprint) says whose
    checkpoint it is; another one's is refused (ForeignCheckpoint). A full disk raises DiskFull, at the end of the epoch beside which
    was written; the same call goes on later. `progress` hears each epoch once, and again only the one that was killed before its
    checkpoint was written. `keep_going` is called before every batch and every checkpoint, should take no time, and stops the training
    by raising. One of a `team` does its part of every batch, and rank 0 the writing;
    all of them have equal results (see `fit_together`, which starts them).
    """
    if checkpoints and not identity:
        raise ValueError("checkpoints need an identity, which decides who may go on from them: pass the unit's fingerprint")
    must_run_on(device, settings)
    way = way or way_of(settings)
    network.to(device, memory_format=way.memory_format)
    learner = torch.compile(network, mode="reduce-overhead") if settings.compile else network
    course = Course(network, weighting(settings, train).to(device), settings)
    if checkpoints:
        team.in_turn(lambda: course.resume(checkpoints, identity))
    pause = keep_going or nobody_stops
    with (
        switched(settings),
        Feed(train, settings, seed, network.device, team, course.epoch + 1) as feed,
        Writer(checkpoints) as writer,
    ):
        while not course.finished:
            rate = course.set_learning_rate()
            figures = _train_epoch(course, learner, feed, way, seed, pause, team)
            figures |= evaluate_loss(course.judged, val, settings, team)
            figures |= {"learning_rate": rate} | course.weighting.figures()
            if not math.isfinite(figures["train_loss"] + figures["val_loss"]):
                raise FloatingPointError(
                    f"the loss is not finite in epoch {course.epoch + 1}: lower learning_rate ({settings.learning_rate})"
                )
            writer.wait()  # the epoch before is safe before anybody hears of this one
            course.history.append(figures)
            if progress:
                progress(course.epoch + 1, figures)
            course.close_epoch(figures)
            if checkpoints and not course.finished:
                pause()
                if team.rank == 0:
                    writer.write(course.snapshot(identity))
    network.load_state_dict(course.best_weights)
    return Fit(network, course.best_epoch, course.history)


def nobody_stops() -> None:
    """What stops a training that nobody stops."""


def _train_epoch(
    course: Course, learner: nn.Module, feed: Feed, way: Way, seed: int, pause: Callable[[], None], team: Team
) -> dict[str, float]:
    network, epoch = course.network, course.epoch + 1
    network.train()
    forward = team.wrap(learner, course.weighting)
    torch.manual_seed(team.stream(seed * 1_000_003 + epoch))  # dropout: the epoch, not the history, decides
    total, seen = torch.zeros((), device=network.device), 0
    for batch in feed.epoch(epoch):
        pause()
        total += learn(course, forward, batch, feed.tasks, way, team)
        seen += batch.labels_in_all
    team.average_statistics(network)
    if course.average is not None:
        team.average_statistics(course.judged)
    return {"train_loss": float(team.total(total)) / max(seen, 1)}


@torch.inference_mode()
def predict(
    network: Network, films: NDArray[np.uint8] | FilmRows, batch_size: int | None = None, team: Team = ALONE
) -> dict[str, NDArray[np.float32]]:
    """Films (N, S, S) uint8 → {task: (N, classes) logits}, in evaluation mode, computed where the network is.

    `batch_size` None: that of EVALUATED.
    """
    network.eval()
    batch_size = batch_size or EVALUATED[network.device.type]
    starts = team.turns(range(0, len(films), batch_size))
    pieces = team.gather({i: network(on_device(network.device, films[i : i + batch_size])[:, None]) for i in starts})
    return {task.name: torch.cat([piece[task.name] for piece in pieces]).float().cpu().numpy() for task in network.tasks}


def evaluate_loss(network: Network, val: Samples, settings: Training, team: Team = ALONE) -> dict[str, float]:
    """{"val_loss": sum over tasks of the mean loss, "val_loss_<task>", "val_accuracy_<task>"}.

    A mean per task, so that the larger data set does not decide alone when to stop. The loss of a task is that of training (cross-
    entropy or squared error), without label smoothing and task weights: runs that differ in these stay comparable.
    """
    logits = {name: torch.from_numpy(rows) for name, rows in predict(network, val.films, team=team).items()}
    known, labels = torch.from_numpy(val.known), torch.from_numpy(val.labels)
    loss = masked_loss(logits, labels, known, val.tasks, squared_error=settings.squared_error, ranked=settings.ranked)
    figures = {f"val_loss_{t}": float(loss.sums[t] / loss.counts[t]) for t in val.tasks if loss.counts[t]}
    for j, task in enumerate(val.tasks):
        if loss.counts[task]:
            right = (logits[task].argmax(1) == labels[:, j])[known[:, j]]
            figures[f"val_accuracy_{task}"] = float(right.float().mean())
    monitored = [f"val_loss_{t}" for t in val.tasks] if settings.monitor not in val.tasks else [f"val_loss_{settings.monitor}"]
    figures["val_loss"] = sum(figures[name] for name in monitored)
    return figures


@torch.no_grad()
def reestimate_batch_norm(network: Network, films: NDArray[np.uint8] | FilmRows, batch_size: int) -> None:
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
        network(on_device(network.device, films[batch])[:, None])
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
