"""How far a training has come: all that one epoch hands to the next, and so all that a checkpoint has to hold."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.learning import checkpoint
from training.learning.network import Network
from training.learning.weighting import Equal
from training.settings import Training


class Course:
    """A training between two epochs. `epoch` counts those done, `waited` those since the best one; `best_epoch` is 0 before it.

    With `averaging` the weights that are judged and kept are an average over the last steps (Polyak and Juditsky, "Acceleration of
    stochastic approximation by averaging", 1992): with few films each step moves the network further than its loss can tell.
    """

    def __init__(self, network: Network, weighting: Equal, settings: Training) -> None:
        self.network, self.weighting, self.settings = network, weighting, settings
        groups: list[dict[str, Any]] = [{"params": list(network.parameters())}]
        if learned := list(weighting.parameters()):
            groups.append({"params": learned, "weight_decay": 0.0})  # decay would pull every task's weight towards 1
        self.optimiser = torch.optim.Adam(
            groups, settings.learning_rate, settings.betas, weight_decay=settings.weight_decay, fused=True
        )
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, "min", settings.plateau_factor, settings.plateau_patience, min_lr=settings.plateau_minimum
        )
        self.average = None
        if settings.averaging:
            self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.averaging), use_buffers=True)
        self.epoch = self.best_epoch = self.waited = 0
        self.best = math.inf
        self.best_weights: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []
        self._snapshot: dict[str, Any] = {}

    @property
    def finished(self) -> bool:
        return self.epoch >= self.settings.max_epochs or self.waited >= self.settings.patience

    @property
    def judged(self) -> Network:
        """The network that an epoch is judged by: with averaged weights where there are such."""
        return self.network if self.average is None else cast(Network, self.average.module)

    def step(self) -> None:
        """Take the step that the gradients ask for."""
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.network)

    def set_learning_rate(self) -> float:
        """The learning rate of the coming epoch. While a linear warm-up rises it decides, after it the plateau may."""
        epoch = self.epoch + 1
        if self.settings.schedule == "constant" or self._rising(epoch):
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.learning_rate_at(epoch)
        return float(self.optimiser.param_groups[0]["lr"])

    def close_epoch(self, figures: Mapping[str, float]) -> None:
        """Judge the epoch by its figures: is it the best, does the learning rate fall."""
        self.epoch += 1
        if self.settings.schedule == "plateau" and not self._rising(self.epoch):
            self.plateau.step(sum(v for name, v in figures.items() if name.startswith("val_loss_")))
        if self.epoch <= self.settings.warmup_epochs and self.epoch < self.settings.max_epochs:
            return
        if figures["val_loss"] < self.best:
            self.best, self.best_epoch, self.waited = figures["val_loss"], self.epoch, 0
            self.best_weights = copied(self.judged.state_dict(), self.best_weights)
        else:
            self.waited += 1

    def _rising(self, epoch: int) -> bool:
        return self.settings.warmup == "linear" and epoch <= self.settings.warmup_epochs

    def snapshot(self, identity: str) -> dict[str, Any]:
        """All that a checkpoint of the training called `identity` holds, as it is now; the one before is overwritten."""
        on_gpu = self.network.device.type == "cuda"
        now = {
            "identity": identity,
            "epoch": self.epoch,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waited": self.waited,
            "history": self.history,
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "weighting": self.weighting.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plateau": self.plateau.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.network.device) if on_gpu else None,
        }
        self._snapshot = copied(now, self._snapshot)
        # Changed only when the next epoch is judged, which waits for this checkpoint. None: those that were judged.
        return self._snapshot | {"best_weights": None if self.best_epoch == self.epoch else self.best_weights}

    def resume(self, folder: Path, identity: str) -> None:
        """Go on from the checkpoint in `folder`, if there is one. Raises ForeignCheckpoint when it is another training's."""
        state = checkpoint.load_own(folder, identity)
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.weighting.load_state_dict(state["weighting"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.plateau.load_state_dict(state["plateau"])
        self.epoch, self.best_epoch, self.waited = state["epoch"], state["best_epoch"], state["waited"]
        self.best, self.history = state["best"], state["history"]
        best = state["best_weights"]
        self.best_weights = copied(self.judged.state_dict(), {}) if best is None else best
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.network.device)


def copied(state: Any, earlier: Any) -> Any:
    """A copy of tensors and numbers in dicts, lists and tuples. Tensors of `earlier`, an older copy, are used again where they fit."""
    if isinstance(state, Tensor):
        fits = isinstance(earlier, Tensor) and (earlier.shape, earlier.dtype) == (state.shape, state.dtype)
        return earlier.copy_(state) if fits else state.detach().clone()
    if isinstance(state, dict):
        before = earlier if isinstance(earlier, dict) else {}
        return {name: copied(value, before.get(name)) for name, value in state.items()}
    if isinstance(state, list | tuple):
        older = earlier if isinstance(earlier, list | tuple) and len(earlier) == len(state) else [None] * len(state)
        return type(state)(copied(value, old) for value, old in zip(state, older, strict=True))
    return state
