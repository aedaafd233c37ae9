"""The training loop, visible on one screen. Everything random in it is a function of (seed, epoch, sample): an epoch can be repeated."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augmentation import augment
from training.data.samples import Samples
from training.learning.network import Network
from training.learning.objective import masked_cross_entropy
from training.settings import Training

Progress = Callable[[int, dict[str, float]], None]


@dataclass
class Fit:
    """The network with its best weights, the epoch they are from (1-based), and every epoch's figures."""

    network: Network
    best_epoch: int
    history: list[dict[str, float]] = field(default_factory=list)


def fit(network: Network, train: Samples, val: Samples, settings: Training, seed: int, progress: Progress | None = None) -> Fit:
    """Train until validation stops improving; the lowest validation loss wins (paper section 3.2).

    The first `warmup_epochs` never count: neither as best nor as "no improvement" (that is what the authors' code means by warm-up);
    with `warmup="linear"` the learning rate also rises over them.
    """
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(
        network.parameters(), settings.learning_rate, settings.betas, weight_decay=settings.weight_decay, fused=True
    )
    result, best, waited = Fit(network, 0), math.inf, 0
    best_state: dict[str, Tensor] = {}
    for epoch in range(1, settings.max_epochs + 1):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate_at(epoch)
        figures = _train_epoch(network, optimiser, train, settings, seed, epoch)
        figures |= evaluate_loss(network, val, settings)
        figures["learning_rate"] = settings.learning_rate_at(epoch)
        if not math.isfinite(figures["train_loss"] + figures["val_loss"]):
            raise FloatingPointError(f"the loss is not finite in epoch {epoch}: lower learning_rate ({settings.learning_rate})")
        result.history.append(figures)
        if progress:
            progress(epoch, figures)
        if epoch <= settings.warmup_epochs and epoch < settings.max_epochs:
            continue
        if figures["val_loss"] < best:
            best, waited, result.best_epoch = figures["val_loss"], 0, epoch
            best_state = copy.deepcopy(network.state_dict())
        else:
            waited += 1
            if waited >= settings.patience:
                break
    network.load_state_dict(best_state)
    return result


def _train_epoch(
    network: Network, optimiser: torch.optim.Optimizer, train: Samples, settings: Training, seed: int, epoch: int
) -> dict[str, float]:
    network.train()
    torch.manual_seed(seed * 1_000_003 + epoch)  # dropout: the epoch, not the history, decides
    order = np.random.default_rng([seed, epoch]).permutation(len(train))
    total, seen = torch.zeros(()), 0
    for batch in _batches(order, settings.batch_size):
        films = augment(torch.from_numpy(train.films[batch])[:, None], train.keys[batch], seed, epoch, settings.augmentation)
        labels, known = torch.from_numpy(train.labels[batch]), torch.from_numpy(train.known[batch])
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bfloat16"):
            logits = network(films.contiguous(memory_format=torch.channels_last))
        loss = masked_cross_entropy(logits, labels, known, train.tasks, settings.reduction)
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()
        total += torch.stack(list(loss.sums.values())).sum().detach()
        seen += int(known.sum())
    return {"train_loss": float(total) / max(seen, 1)}


def _batches(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut into batches of `size`; a last batch of one joins its neighbour, because BatchNorm cannot learn from one film."""
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


@torch.inference_mode()
def predict(network: Network, films: NDArray[np.uint8], batch_size: int = 64) -> dict[str, NDArray[np.float32]]:
    """Films (N, S, S) uint8 → {task: (N, classes) logits}, in evaluation mode."""
    network.eval()
    pieces = [network(torch.from_numpy(films[i : i + batch_size])[:, None]) for i in range(0, len(films), batch_size)]
    return {task.name: torch.cat([piece[task.name] for piece in pieces]).float().numpy() for task in network.tasks}


def evaluate_loss(network: Network, val: Samples, settings: Training) -> dict[str, float]:
    """{"val_loss": sum over tasks of the mean cross-entropy, "val_loss_<task>", "val_accuracy_<task>"}.

    A mean per task, so that the larger data set does not decide alone when to stop.
    """
    logits = {name: torch.from_numpy(rows) for name, rows in predict(network, val.films).items()}
    known, labels = torch.from_numpy(val.known), torch.from_numpy(val.labels)
    loss = masked_cross_entropy(logits, labels, known, val.tasks)
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
    for batch in _batches(np.arange(len(films)), batch_size):
        network(torch.from_numpy(films[batch])[:, None])
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
