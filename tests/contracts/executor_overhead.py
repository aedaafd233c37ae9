"""`python -m tests.contracts.executor_overhead process|container [UNITS SECONDS]`: what an executor costs per unit, on two slots.

Workers, claims and MLflow (an SQLite file) are real, a training is sleep. Of each slot the time from its first claim to the end of its
last training is counted; what is not sleep is overhead. The gap is what passes between the end of a training and the next claim.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

from tests.contracts.executor_places import Containers, contract_image
from tests.journeys.under_fire.ground import ROOT, Ground, events, film_store, unit
from training.tracking import Tracking, default_uri

SLOTS = 2


class SlotTimes(NamedTuple):
    """Seconds per unit that a slot spent on anything but its sleep: over all units, and over those that a warm worker took; and seconds
    between the end of a training and the next claim. A worker's first unit also pays for the imports of what trains."""

    overhead: float
    warm: float
    gaps: tuple[float, ...]


def slot_times(folder: Path, kind: str, count: int, seconds: int, image: str = "") -> SlotTimes:
    """`count` units of so many seconds on SLOTS slots."""
    home = folder / "home"
    ground = Ground(home, Tracking(default_uri(home), home), film_store(folder / "films"))
    jobs = ground.jobs([unit(seed, epochs=seconds, fold="slow") for seed in range(count)])
    (folder / "jobs.json").write_text(json.dumps([job.model_dump(mode="json") for job in jobs]))
    place = Containers(image) if image else None
    command = [sys.executable, "-m", "tests.contracts.executor_runner", str(folder), str(SLOTS), kind]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *([place.stack, image] if place else [])], cwd=ROOT, env=environment, check=True)
    at = {
        kind: sorted(e["at"] for e in events(folder / "journal.jsonl") if e["event"] == kind) for kind in ("claimed", "trained")
    }
    assert len(at["trained"]) == count
    slot_time = SLOTS * (at["trained"][-1] - at["claimed"][0])
    # The k-th end of a training frees the slot of the (k + SLOTS)-th claim: all units are equally long.
    gaps = tuple(begun - ended for ended, begun in zip(at["trained"], at["claimed"][SLOTS:], strict=False))
    work = (ended - begun - seconds for begun, ended in zip(at["claimed"][SLOTS:], at["trained"][SLOTS:], strict=True))
    return SlotTimes((slot_time - count * seconds) / count, mean(map(sum, zip(gaps, work, strict=True))), gaps)


def share(overhead: float, seconds: float) -> float:
    """Percent of slot time that units of so many seconds lose."""
    return 100 * overhead / (seconds + overhead)


def measure(folder: Path, kind: str, count: int, seconds: int, image: str = "") -> str:
    """Two lines of figures."""
    overhead, warm, gaps = slot_times(folder, kind, count, seconds, image)
    return (
        f"{kind}: {count} units of {seconds} s on {SLOTS} slots at load {os.getloadavg()[0]:.1f}: {1000 * overhead:.0f} ms per unit over "
        f"its sleep, {1000 * warm:.0f} ms in a warm worker, of which between units {1000 * median(gaps):.0f} ms (median, "
        f"{1000 * max(gaps):.0f} at most)\n"
        f"share of slot time of units of 60 s: {share(overhead, 60):.2f} %, warm {share(warm, 60):.2f} %\n"
    )


def main(kind: str, count: int = 40, seconds: int = 2) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind == "process":
            sys.stdout.write(measure(folder, kind, count, seconds))
            return
        (folder / "image").mkdir()
        with contract_image(folder / "image") as image:
            sys.stdout.write(measure(folder, kind, count, seconds, image))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
