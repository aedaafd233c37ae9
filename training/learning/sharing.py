"""One of the processes that train side by side: `python -m training.learning.sharing train HOME ASKED SECONDS`; `… kind` names the GPU.

It trains as units do, with augmentation beside the step, on films of noise: says "warm", waits for a line, trains for so long, and
says its films per second and its memory.

What was never tried, for want of a GPU: everything on "cuda". Memory there is what torch reserved. The driver's own for each process
comes on top, and so does the training split of a real unit where that lies on the device (`feeding.place`).
"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch

from cxr.tasks import PROGNOSIS
from training.data.samples import Samples, assemble
from training.learning.calibration import way_here
from training.learning.course import Course
from training.learning.devices import must_run_on, switched, way_of
from training.learning.feeding import Feed, Ready
from training.learning.network import create
from training.learning.stepping import learn
from training.learning.team import ALONE
from training.learning.weighting import weighting
from training.memory import peak_resident
from training.parent import die_with_parent
from training.settings import Training
from training.sharing import Asked
from training.side_by_side import Trained

WARM_STEPS = 3  # kernels are made, memory is taken, graphs of "compile" are recorded
BATCHES = 4  # of films, over and over


def train(home: Path, asked: Asked, seconds: float) -> None:
    """`home` has the calibration that precision "auto" asks for, or gets it. Raises NotHere, and whatever ends a training."""
    torch.set_num_threads(asked.threads)
    settings, device = asked.training, asked.device
    must_run_on(device, settings)
    network = create(asked.backbone, "scratch", (PROGNOSIS,), settings.hidden, settings.dropout, seed=0).to(device)
    if asked.precision == "auto":
        way = way_here(home, asked.backbone, network, asked.size, asked.batch, device, asked.threads)
    else:
        way = way_of(settings)
    network.to(memory_format=way.memory_format).train()
    learner: torch.nn.Module = torch.compile(network, mode="reduce-overhead") if asked.compile else network
    samples = noise(asked.size, BATCHES * asked.batch)
    course = Course(network, weighting(settings, samples).to(device), settings)
    with switched(settings), Feed(samples, settings, 0, network.device, ALONE, 1) as feed:
        batches = endless(feed)

        def step() -> int:
            batch = next(batches)
            learn(course, learner, batch, feed.tasks, way, ALONE)
            return batch.films_in_all

        for _ in range(WARM_STEPS):
            step()
        _say("warm")
        sys.stdin.readline()
        begun, films = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            films += step()
        if device == "cuda":
            torch.cuda.synchronize()
        _say(json.dumps(Trained(films / (time.perf_counter() - begun), peak(device))))


def noise(size: int, films: int) -> Samples:
    """So many films of noise, half of them SEVERE."""
    pixels = np.random.default_rng(0).integers(0, 256, (films, size, size), dtype=np.uint8)
    labels = [{PROGNOSIS.name: i % 2} for i in range(films)]
    return assemble(list(pixels), [str(i) for i in range(films)], labels, (PROGNOSIS.name,))


def endless(feed: Feed) -> Iterator[Ready]:
    """Batches, epoch after epoch."""
    for epoch in count(1):
        yield from feed.epoch(epoch)


def peak(device: str) -> int:
    """Bytes: on a GPU what torch has reserved of it, else what was resident of this process."""
    return torch.cuda.max_memory_reserved() if device == "cuda" else peak_resident()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(verb: str, *given: str) -> None:
    die_with_parent()
    if verb == "kind":
        must_run_on("cuda", Training())
        _say(torch.cuda.get_device_name())
        return
    home, asked, seconds = given
    train(Path(home), Asked.model_validate_json(asked), float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
