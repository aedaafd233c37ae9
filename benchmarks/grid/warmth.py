"""What stands between two units of a real worker: the first in a fresh process, the next ones in a warm one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.journeys.under_fire.ground import ROOT, Ground, film_store, unit
from training.tracking import Tracking, default_uri


class Warmth(NamedTuple):
    """Seconds, medians but for `fresh`. `fresh`: from the start of a process to its first finished epoch; `next`: from the end of a
    training to the claim on the next unit; `first_epoch`: from that claim to the first finished epoch."""

    fresh: float
    next: float
    first_epoch: float


def measure(folder: Path, count: int) -> Warmth:
    """`count` units of shufflenet_v2_x0_5 on 24 training films of 32 px, 3 epochs each, handed over one after another."""
    home = folder / "home"
    ground = Ground(home, Tracking(default_uri(home), home), film_store(folder / "films"))
    jobs = [job.model_dump_json() for job in ground.jobs([unit(seed) for seed in range(count)])]
    begun = time.monotonic()
    command = [sys.executable, "-m", "training.protocol.worker"]
    heard: dict[str, list[float]] = {"claimed": [], "trained": []}
    firsts: list[float] = []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        for line in worker.stdout:
            event, now = json.loads(line), time.monotonic()
            if event["event"] == "idle":
                if not jobs:
                    worker.stdin.close()
                    continue
                worker.stdin.write(jobs.pop(0) + "\n")
                worker.stdin.flush()
            elif event["event"] == "epoch" and event["epoch"] == 1:
                firsts.append(now)
            elif event["event"] in heard:
                heard[event["event"]].append(now)
    between = [claimed - trained for trained, claimed in zip(heard["trained"], heard["claimed"][1:], strict=False)]
    warm = [first - claimed for first, claimed in zip(firsts[1:], heard["claimed"][1:], strict=True)]
    return Warmth(firsts[0] - begun, median(between), median(warm))
