"""What surrounds the step: the data path, a device faster than this one, memory."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.clock import Spent, spent
from benchmarks.page import ROOT
from benchmarks.training import pictures
from benchmarks.training.epoch import STEPS
from cxr.tasks import by_name
from training.data.film_warp import warp_films
from training.data.variation import vary
from training.learning.backbones.backbone import Backbone
from training.learning.fitting import fit
from training.learning.network import Network
from training.settings import Augmentation, Training


def data_path(folder: Path, size: int, batch: int, rounds: int) -> list[Spent]:
    """Seconds per film from the mapped store to the batch the network is given, with every variation on.

    Every batch is of other films: the store is larger than the processor's caches, as a study's is.
    """
    store = pictures.larger_than_the_cache(folder, size)
    films, out = range(len(store)), np.empty((batch, size, size), np.float32)
    keys = pictures.samples(folder, batch, size).keys
    store.sum()  # mapped, and out of the cache again

    def of(first: int) -> Callable[[], object]:
        rows = [films[(first + i) % len(films)] for i in range(batch)]
        return lambda: warp_films((store[row] for row in rows), vary(keys, 0, 1, Augmentation()), out)

    of(0)()
    return [spent(of(i * batch)).per(batch) for i in range(1, rounds + 1)]


def bits(folder: Path, size: int) -> set[str]:
    """Digests of the same films prepared in batches of several sizes, in several orders, with several threads: one, if all bits are
    equal."""
    films, found = pictures.samples(folder, 33, size), set()
    orders = (np.arange(33), np.arange(33)[::-1], np.random.default_rng(0).permutation(33))
    for threads, order, batch in product((1, 2), orders, (1, 2, 7, 33)):
        torch.set_num_threads(threads)
        out, prepared = np.empty((33, size, size), np.float32), np.empty((33, size, size), np.float32)
        for i in range(0, 33, batch):
            rows = order[i : i + batch]
            warp_films((films.films[j] for j in rows), vary(films.keys[rows], 0, 1, Augmentation()), prepared[: len(rows)])
            out[rows] = prepared[: len(rows)]
        found.add(hashlib.sha256(out.tobytes()).hexdigest())
    torch.set_num_threads(1)
    return found


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


def compiled(size: int, batch: int, seconds: int) -> list[float] | str:
    """[seconds of compiling, step per step as it is] of torch.compile, or why there are none; nothing compiled before is used."""
    with tempfile.TemporaryDirectory() as place:
        try:
            return fresh("compiled", size, batch, seconds=seconds, TORCHINDUCTOR_CACHE_DIR=place)
        except subprocess.TimeoutExpired:
            return f"not ready after {seconds} s"
        except subprocess.CalledProcessError as error:
            return f"it failed: {(error.stderr.strip().splitlines() or ['without a word'])[-1][:200]}"


def fresh(code: str, *values: object, seconds: int = 600, **environment: str) -> list[float]:
    """Numbers that a new process prints: `code` is a module of this folder, run with the values."""
    command = [sys.executable, "-m", f"benchmarks.training.{code}", *map(str, values)]
    own = os.environ | environment
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds, env=own)
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
