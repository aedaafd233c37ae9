"""What surrounds the step: the data path, the end of an epoch, a device faster than this one, memory."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric
from torch import Tensor, nn

from benchmarks.clock import Spent, spent
from benchmarks.page import ROOT
from benchmarks.training import pictures
from benchmarks.training.contenders import network_of
from cxr.tasks import by_name
from training.data.film_warp import warp_films
from training.data.variation import vary
from training.learning import checkpoint, fitting
from training.learning.backbones.backbone import Backbone
from training.learning.devices import Way
from training.learning.fitting import fit
from training.learning.network import Network
from training.protocol.desk import Desk
from training.settings import Augmentation, Training

STEPS = 9  # of an epoch of data set A at the paper's batch of 128


def data_path(folder: Path, size: int, batch: int, rounds: int) -> list[Spent]:
    """Seconds per film from the mapped store to the batch the network is given, with every variation on."""
    films = pictures.samples(folder, batch, size)
    out = np.empty((batch, size, size), np.float32)

    def once() -> None:
        warp_films((films.films[i] for i in range(batch)), vary(films.keys, 0, 1, Augmentation()), out)

    once()
    return [spent(once).per(batch) for _ in range(rounds)]


def bits(folder: Path, size: int) -> set[str]:
    """Digests of the same films prepared in batches of several sizes and with several threads: one, if all bits are equal."""
    films, found = pictures.samples(folder, 33, size), set()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for batch in (1, 2, 7, 33):
            out = np.empty((33, size, size), np.float32)
            for i in range(0, 33, batch):
                rows = range(i, min(i + batch, 33))
                warp_films(
                    (films.films[j] for j in rows), vary(films.keys[i : i + batch], 0, 1, Augmentation()), out[i : i + batch]
                )
            found.add(hashlib.sha256(out.tobytes()).hexdigest())
    torch.set_num_threads(1)
    return found


def epoch_ends(backbone: str, folder: Path, size: int, batch: int, way: Way, epochs: int) -> dict[str, float]:
    """Seconds of an epoch of nine steps, and of what stands between the last step of one and the first of the next.

    A third as many films validate, a checkpoint is written, figures are spooled and sent to MLflow (SQLite) by a thread.
    """
    train, val = pictures.samples(folder, STEPS * batch, size), pictures.samples(folder, STEPS * batch // 3, size)
    settings = Training(batch_size=batch, max_epochs=epochs, warmup_epochs=0, patience=epochs)
    ends: list[float] = []
    begins: list[float] = []
    validations: list[float] = []
    beside: list[float] = []
    steps = [0]

    def pause() -> None:
        if steps[0] % (STEPS + 1) == 0:  # asked before each batch and once before the checkpoint
            begins.append(time.perf_counter())
        steps[0] += 1

    evaluate, save = fitting.evaluate_loss, checkpoint.save

    def timed_evaluation(*asked: Any) -> dict[str, float]:
        ends.append(time.perf_counter())
        with torch.inference_mode():
            network.eval()
            begun = time.perf_counter()
            for i in range(0, len(val), many := fitting.EVALUATED["cpu"]):
                network(torch.from_numpy(val.films[i : i + many])[:, None])
            validations.append(time.perf_counter() - begun)
        return evaluate(*asked)

    def timed_save(*asked: Any) -> None:
        begun = time.thread_time()
        save(*asked)
        beside.append(time.thread_time() - begun)

    network = network_of(backbone)
    with tempfile.TemporaryDirectory() as place:
        desk = Desk(Path(place), "unit")
        desk.open()
        client = MlflowClient(f"sqlite:///{place}/mlflow.db")
        run = client.create_run(client.create_experiment("bench", f"file://{place}/artifacts")).info.run_id
        senders: list[Thread] = []

        def send(epoch: int, figures: dict[str, float]) -> None:
            begun = time.thread_time()
            client.log_batch(run, [Metric(name, value, int(time.time() * 1000), epoch) for name, value in figures.items()])
            beside.append(time.thread_time() - begun)

        def progress(epoch: int, figures: dict[str, float]) -> None:
            desk.spool(epoch, figures)
            senders.append(Thread(target=send, args=(epoch, figures)))
            senders[-1].start()

        fitting.evaluate_loss, checkpoint.save = timed_evaluation, timed_save
        try:
            fit(network, train, val, settings, 0, progress, desk.checkpoints, keep_going=pause, identity="bench", way=way)
        finally:
            fitting.evaluate_loss, checkpoint.save = evaluate, save
        for sender in senders:
            sender.join()
    between = [begin - end for end, begin in zip(ends, begins[1:], strict=False)]
    extra = [whole - 2 * bare for whole, bare in zip(between, validations, strict=False)]  # it was computed twice here
    epoch = median(end - begin for begin, end in zip(begins, ends, strict=True))
    return {
        "epoch": epoch, "validation": median(validations), "extra": max(0.0, median(extra)),
        "beside": sum(beside) / epochs,
    }  # fmt: skip


class _Device(Network):
    """A device that computes `rate` films a second and takes no processor time for it."""

    def __init__(self, rate: float) -> None:
        super().__init__(Backbone(nn.Identity(), 8, "none"), by_name(pictures.TASKS), hidden=8)
        self.rate = rate

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        if self.training:
            time.sleep(len(films) / self.rate)
        shared = films[:, 0, 0, :8].float() / 255
        return {name: head(shared) for name, head in self.heads.items()}


def simulated(folder: Path, size: int, batch: int, rate: float, epochs: int) -> float:
    """Share of a device's rate that `fit` reaches in epochs of nine steps, by the clock; the first epoch fills the buffers."""
    train, val = pictures.samples(folder, STEPS * batch, size), pictures.samples(folder, 2, size)
    ended: list[float] = []
    settings = Training(batch_size=batch, max_epochs=epochs + 1, warmup_epochs=0, patience=epochs + 1)
    fit(_Device(rate), train, val, settings, 0, lambda *_: ended.append(time.perf_counter()))
    taken = [later - earlier for earlier, later in pairwise(ended)]
    return STEPS * batch / rate / median(taken)


def fresh(code: str, *values: object) -> list[float]:
    """Numbers that a new process prints: `code` is a module of this folder, run with the values."""
    command = [sys.executable, "-m", f"benchmarks.training.{code}", *map(str, values)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    return [float(word) for word in told.stdout.split()[-3:]]


def loops(python: Path, steps: int, rounds: int) -> dict[str, Any]:
    """{"step": ms of the plain loop, "added": {loop: ms}}: see the module `loops`, which this interpreter runs."""
    command = [python, "-m", "benchmarks.training.loops", str(steps), str(rounds)]
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, cwd=ROOT, env=own, check=True, capture_output=True, text=True, timeout=600)
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def alternating(cases: dict[str, Callable[[], list[float]]], rounds: int) -> dict[str, list[list[float]]]:
    """What each case gives, several times in turn."""
    found: dict[str, list[list[float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, run in cases.items():
            found[name].append(run())
    return found
