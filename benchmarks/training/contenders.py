"""Who trains: a hand-written loop on resident tensors, the product's own step, its `fit` end to end, and other data paths."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.clock import Spent, now, since, spent
from benchmarks.training import loaders, pictures
from cxr.tasks import by_name
from training.learning import fitting
from training.learning.course import Course
from training.learning.devices import Way
from training.learning.feeding import Ready
from training.learning.fitting import fit
from training.learning.network import Network, create
from training.learning.stepping import learn
from training.learning.team import ALONE, Share
from training.learning.weighting import Equal
from training.settings import Training

Run = Callable[[], Spent]
PLAIN = Way("contiguous", "float32")  # what torch does when nobody chooses
GIVEN_BACK = "step by hand, buffers given back"
IDLE = 0.3  # seconds in which the product's thread fills its buffers before the clock is read


def network_of(backbone: str) -> Network:
    return create(backbone, "scratch", by_name(pictures.TASKS), 128, 0.5, 0)


class ByHand:
    """Forward, cross-entropy of both heads, backward, Adam: the least a step can be. Films are normalised and resident."""

    def __init__(self, backbone: str, size: int, batch: int, way: Way, fused: bool = True) -> None:
        network = network_of(backbone).to(memory_format=way.memory_format).train()
        self.body, self.heads, self.way, self.batch = network.backbone, network.heads, way, batch
        self.adam = torch.optim.Adam(network.parameters(), 1e-3, weight_decay=1e-4, **({"fused": True} if fused else {}))
        self.films = torch.randn(batch, 3, size, size).to(memory_format=way.memory_format)
        self.labels = torch.stack([torch.arange(batch) % 2, torch.arange(batch) % 4], dim=1)

    def step(self, films: Tensor, labels: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.way.precision == "bfloat16"):
            shared = self.body(films)
            rows = [head(shared) for head in self.heads.values()]
        losses = [functional.cross_entropy(r.float(), labels[:, j], reduction="sum", ignore_index=-1) for j, r in enumerate(rows)]
        self.adam.zero_grad(set_to_none=True)
        (losses[0] + losses[1]).backward()
        self.adam.step()

    def resident(self, steps: int) -> Run:
        def run() -> Spent:
            return spent(lambda: [self.step(self.films, self.labels) for _ in range(steps)]).per(steps * self.batch)

        return run

    def fed(self, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> Run:
        """Batches of another data path, normalised and laid out as the network wants them."""
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

        def once() -> None:
            for _ in range(steps):
                films, labels = next(batches)
                self.step(((films - mean) / deviation).contiguous(memory_format=self.way.memory_format), labels)

        return lambda: spent(once).per(steps * self.batch)


def own_step(backbone: str, size: int, batch: int, way: Way, steps: int) -> Run:
    """The product's step on a batch that lies ready."""
    network = network_of(backbone).to(memory_format=way.memory_format).train()
    course = Course(network, Equal(), Training())
    labels = torch.stack([torch.arange(batch) % 2, torch.arange(batch) % 4], dim=1)
    ready = Ready(
        torch.rand(batch, 1, size, size) * 255,
        labels,
        torch.ones(batch, 2, dtype=torch.bool),
        Share(slice(0, batch), 1),
        batch,
        2 * batch,
    )
    return lambda: spent(lambda: [learn(course, network, ready, pictures.TASKS, way, ALONE) for _ in range(steps)]).per(
        steps * batch
    )


class OwnFit:
    """One call of `fit`, held up between its epochs so that others have their turn; the steps of an epoch are what one round measures,
    with all that prepares and surrounds them, without validation (`parts.epoch_ends` measures that).
    """

    def __init__(self, backbone: str, folder: Path, size: int, batch: int, way: Way, steps: int, rounds: int) -> None:
        self.films = batch * steps
        self.turn: SimpleQueue[None] = SimpleQueue()
        self.taken: SimpleQueue[Spent | Exception] = SimpleQueue()
        train, val = pictures.samples(folder, self.films, size), pictures.samples(folder, 2, size)
        settings = Training(batch_size=batch, max_epochs=rounds, warmup_epochs=0, patience=rounds)
        self.begun = now()

        evaluate = fitting.evaluate_loss

        def steps_ended(*asked: Any) -> dict[str, float]:
            wall = since(self.begun).wall
            time.sleep(IDLE)
            one = Spent(since(self.begun).cpu, wall).per(self.films)
            figures = evaluate(*asked)
            self.taken.put(one)
            self.turn.get()
            self.begun = now()
            return figures

        def train_all() -> None:
            try:
                self.turn.get()
                torch.set_num_threads(1)
                fitting.evaluate_loss = steps_ended
                self.begun = now()
                fit(network_of(backbone), train, val, settings, 0, way=way)
            except Exception as error:  # noqa: BLE001  raised by the round that waits
                self.taken.put(error)
            finally:
                fitting.evaluate_loss = evaluate

        self.thread = Thread(target=train_all, daemon=True)
        self.thread.start()

    def run(self) -> Spent:
        self.turn.put(None)
        got = self.taken.get()
        if isinstance(got, Exception):
            raise got
        return got

    def end(self) -> None:
        self.turn.put(None)
        self.thread.join()


class Others:
    """The other data paths with the best step, as their users run them: in a process that gives freed buffers back; and that step alone
    there. The authors' has torch's default step too. A context manager; `runs` by name.
    """

    def __init__(self, backbone: str, folder: Path, films: int, size: int, batch: int, way: Way, steps: int) -> None:
        self._case = (backbone, folder, films, size, batch, *way, steps)
        self.runs: dict[str, Run] = {style: partial(self._ask, style) for style in (GIVEN_BACK, *loaders.STYLES)}

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.training.contenders", *map(str, self._case)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # ends with its input

    def _ask(self, style: str) -> Spent:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{style}\n")
        self._process.stdin.flush()
        return Spent(*map(float, self._process.stdout.readline().split()))


def main(backbone: str, folder: str, films: str, size: str, batch: str, layout: str, precision: str, steps: str) -> None:
    """What `Others` starts: runs each style that it is told."""
    torch.set_num_threads(1)
    runs = {GIVEN_BACK: ByHand(backbone, int(size), int(batch), Way(layout, precision)).resident(int(steps))}
    for style in loaders.STYLES:
        own = style == "authors' style"
        trainer = ByHand(backbone, int(size), int(batch), PLAIN if own else Way(layout, precision), fused=not own)
        runs[style] = trainer.fed(loaders.endless(style, Path(folder), int(films), int(size), int(batch)), int(steps))
    for line in sys.stdin:
        print(*runs[line.strip()](), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
