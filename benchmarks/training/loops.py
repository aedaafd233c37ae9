"""Milliseconds that a loop adds to a step, on a network of microseconds: `loops STEPS ROUNDS` prints them as JSON.

Run by an interpreter that also has lightning and accelerate, if there is one; what is missing is not measured.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.clock import Spent, interleaved, spent
from benchmarks.training import pictures
from cxr.tasks import by_name
from training.data.samples import Samples, assemble
from training.learning.backbones.backbone import Backbone
from training.learning.course import Course
from training.learning.devices import Way
from training.learning.feeding import Feed, Ready
from training.learning.fitting import _train_epoch, nobody_stops
from training.learning.mixing import Batch
from training.learning.network import Network
from training.learning.objective import masked_loss
from training.learning.team import ALONE, Share
from training.learning.weighting import Equal
from training.protocol.claim import Claim
from training.protocol.claims import ClaimTable
from training.protocol.lease import Lease
from training.settings import Training

BATCH, SIZE = 8, 8
WAY = Way("channels_last", "float32")


class _Resident(Feed):
    """All that the product's feed does but preparing: every batch is the same one."""

    def _prepare(self, batch: Batch, epoch: int, buffer: int) -> Ready:
        return Ready(*resident(), Share(slice(0, BATCH), 1), BATCH, BATCH)


def small() -> Network:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(Backbone(body, 4, "random"), by_name(pictures.TASKS), hidden=8).train()


@cache
def resident() -> tuple[Tensor, Tensor, Tensor]:
    labels = torch.stack([torch.arange(BATCH) % 2, torch.arange(BATCH) % 4], dim=1)
    return torch.rand(BATCH, 1, SIZE, SIZE) * 255, labels, torch.ones(BATCH, 2, dtype=torch.bool)


def loss_of(network: nn.Module, films: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    return masked_loss(network(films), labels, known, pictures.TASKS).total


def plain(steps: int) -> Callable[[], Spent]:
    network = small()
    adam = torch.optim.Adam(network.parameters(), fused=True)

    def once() -> None:
        for _ in range(steps):
            loss = loss_of(network, *resident())
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()

    return lambda: spent(once).per(steps)


def product(steps: int, ahead: bool, pause: Callable[[], None]) -> Callable[[], Spent]:
    network, settings = small(), Training(batch_size=BATCH, max_epochs=10**6)
    films = [np.zeros((SIZE, SIZE), np.uint8)] * (BATCH * steps)
    train: Samples = assemble(films, [str(i) for i in range(len(films))], pictures.labels_of(len(films)), pictures.TASKS)
    course = Course(network, Equal(), settings)

    def once() -> None:
        with _Resident(train, settings, 0, torch.device("cpu"), ALONE, 1, ahead) as feed:
            _train_epoch(course, network, feed, WAY, 0, pause, ALONE)

    return lambda: spent(once).per(steps)


def with_accelerate(steps: int) -> Callable[[], Spent]:
    from accelerate import Accelerator

    accelerator, network = Accelerator(cpu=True), small()
    network, adam = accelerator.prepare(network, torch.optim.Adam(network.parameters(), fused=True))

    def once() -> None:
        for _ in range(steps):
            loss = loss_of(network, *resident())
            adam.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            adam.step()

    return lambda: spent(once).per(steps)


def with_lightning(steps: int, usual: bool) -> Callable[[], Spent]:
    import logging
    import warnings

    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = small()

        def training_step(self, batch: Any, number: int) -> Tensor:
            loss = loss_of(self.network, *resident())
            if usual:
                self.log("loss", loss, on_step=True, on_epoch=True, batch_size=BATCH)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), fused=True)

    def fitted(number: int) -> Spent:
        place = tempfile.mkdtemp()
        trainer = Trainer(
            accelerator="cpu", max_steps=number, max_epochs=-1, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, logger=CSVLogger(place) if usual else False, default_root_dir=place,
        )  # fmt: skip
        return spent(lambda: trainer.fit(Module(), [0] * number))

    def run() -> Spent:
        short, long = fitted(2), fitted(steps + 2)  # their difference leaves out what is paid once per training
        return Spent(long.cpu - short.cpu, long.wall - short.wall).per(steps)

    return run


def main() -> None:
    steps, rounds = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    contenders = {"plain loop": plain(steps), "this product": product(steps, False, nobody_stops)}
    with tempfile.TemporaryDirectory() as place:
        table = ClaimTable(f"sqlite:///{place}/claims.db")
        claim = table.acquire("unit", "bench")
        assert isinstance(claim, Claim)
        with Lease(table, claim) as lease:
            contenders["this product, its thread and its lease"] = product(steps, True, lease.check)
            measure(contenders, steps, rounds)


def measure(contenders: dict[str, Callable[[], Spent]], steps: int, rounds: int) -> None:
    if find_spec("accelerate"):
        contenders["accelerate"] = with_accelerate(steps)
    if find_spec("lightning"):
        contenders |= {"Lightning, bare": with_lightning(steps, False), "Lightning, logging": with_lightning(steps, True)}
    taken = interleaved(contenders, rounds)
    base = taken["plain loop"]
    added = {name: median(a.cpu - b.cpu for a, b in zip(rows, base, strict=True)) * 1000 for name, rows in taken.items()}
    print(json.dumps({"step": median(b.cpu for b in base) * 1000, "added": added}))  # noqa: T201


if __name__ == "__main__":
    main()
