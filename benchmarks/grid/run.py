"""`make bench-grid`: what the grid adds to the units themselves. Writes benchmarks/grid.md.

Units that sleep for a minute on two slots; real units in a fresh and in a warm worker; units that share the cores; and a study of 200
small units with this code and with that of BEFORE.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import page
from benchmarks.grid import packing, warmth
from benchmarks.grid.protocol import STATE, checked_out, study
from benchmarks.page import ROOT, Goal, table
from tests.contracts.executor_overhead import SLOTS, SlotTimes, share, slot_times

OUTPUT = ROOT / "benchmarks" / "grid.md"
BEFORE = "80b67a6"  # the last commit before the training engine and the grid were made anew


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.grid.run")
    options.add_argument("--quick", action="store_true", help="a minute, to see that it runs")
    options.add_argument("--output", type=Path, default=OUTPUT)
    options.add_argument("--state", type=Path, default=STATE, help="where films and figures of the studies are kept")
    given = options.parse_args()
    count, seconds, rounds, taken = (4, 2, 1, 1.0) if given.quick else (6, 60, 3, 5.0)
    with tempfile.TemporaryDirectory() as name:
        asleep = slot_times(_new(name, "asleep"), "process", count, seconds)
        warm = warmth.measure(_new(name, "warm"), 3 if given.quick else 8)
    packed = packing.measure(rounds, taken, packing.CASES[:1] if given.quick else packing.CASES)
    studies = _timed(given.state.resolve(), () if given.quick else (BEFORE,), 1 if given.quick else 10)
    goals = page.goals(goals_of(asleep, seconds, warm, packed))
    parts = [*_slots(asleep, count, seconds), *_warm(warm), *_packing(packed), *_studies(studies)]
    page.write(given.output, [*_head(given.quick), goals, *parts])
    sys.stdout.write(f"{given.output}\n")


def _timed(state: Path, before: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """The study with the code of each commit that git has, and with this code; and earlier figures of `before` where git has it not."""
    state.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    for revision in before:
        with checked_out(revision, state / "before") as checkout:
            if checkout is not None:
                found.append(study(checkout, repeats, state))
            elif (earlier := state / f"protocol-{revision}.json").is_file():
                found.append(json.loads(earlier.read_text()))
    return [*found, study(ROOT, repeats, state)]


def _new(name: str, part: str) -> Path:
    folder = Path(name) / part
    folder.mkdir()
    return folder


def _head(quick: bool) -> list[str]:
    return page.head(
        "The grid: what stands between the units",
        "Wall-clock times; workers are processes, MLflow is an SQLite file.",
        ("torch", "mlflow", "sqlalchemy"),
        "one per worker unless said",
        quick,
    )


def _slots(asleep: SlotTimes, count: int, seconds: int) -> list[str]:
    return [
        "## Loss to scheduling",
        f"{count} units that sleep for {seconds} s on {SLOTS} slots: {1000 * asleep.overhead:.0f} ms of slot time per unit beside the "
        f"sleep, {share(asleep.overhead, seconds):.2f} %. A worker's first unit pays for the imports of what trains; the others "
        f"take {1000 * asleep.warm:.0f} ms beside their sleep, {share(asleep.warm, seconds):.2f} %. Between the end of a "
        f"training and the next claim {1000 * median(asleep.gaps):.0f} ms (median), {1000 * max(asleep.gaps):.0f} ms at most.",
    ]


def _warm(warm: warmth.Warmth) -> list[str]:
    return [
        "## A warm worker",
        "Real units (shufflenet_v2_x0_5, 24 training films of 32 px). From the start of a process to its first finished epoch "
        f"{warm.fresh:.2f} s; in a warm worker {1000 * warm.next:.0f} ms from the end of a training to the next claim, and "
        f"{1000 * warm.first_epoch:.0f} ms from there to the first finished epoch.",
    ]


def _packing(packed: Sequence[packing.Packed]) -> list[str]:
    rows = [
        (
            f"{one.backbone}, {one.size} px, {one.batch}",
            f"{one.one:.0f}",
            f"{one.threads:.0f}",
            f"{one.units:.0f}",
            f"{one.gain:.2f}×",
        )
        for one in packed
    ]
    worst = min(one.gain for one in packed)
    said = "is never worse than" if worst >= 1 else "loses against"
    return [
        "## Sharing the cores",
        "Films per second of training (augmentation and step, channels_last, float32), all processes together.",
        table(
            ("backbone, size, batch", "1 unit × 1 thread", "1 unit × 2 threads", "2 units × 1 thread", "gain of sharing"), rows
        ),
        f"One unit of one thread per core {said} one unit on all cores (least gain {worst:.2f}×). `mdmt run` starts as many workers as "
        "there are cores, and recipes give a unit one thread; `threads` is part of a unit's result and so stays with the recipe.",
    ]


def _studies(studies: Sequence[dict[str, Any]]) -> list[str]:
    slowest = max(one["wall"] / one["units"] for one in studies)
    rows = []
    for one in sorted(studies, key=lambda one: one["at"]):
        each = one["wall"] / one["units"]
        busy = one["cpu"] / one["wall"] / one["workers"]
        taken = f"{one['wall']:.0f}", f"{one['cpu']:.0f}", f"{100 * busy:.0f} %", f"{each:.2f}", f"{slowest / each:.2f}×"
        rows.append((one["commit"], one["at"], one["units"], one["workers"], *taken))
    header = (
        "code",
        "timed at",
        "units",
        "workers",
        "wall, s",
        "own CPU, s",
        "of its cores",
        "wall per unit, s",
        "against the slowest",
    )
    return [
        "## A study of small units",
        "`mdmt run` of the same recipe (`benchmarks.grid.protocol`), films prepared before the clock starts; "
        + ("before and after." if len(studies) > 1 else f"git does not have {BEFORE}, so there is no figure of before."),
        table(header, rows),
    ]


def goals_of(asleep: SlotTimes, seconds: int, warm: warmth.Warmth, packed: Sequence[packing.Packed]) -> list[Goal]:
    loss, worst = share(asleep.overhead, seconds), min(one.gain for one in packed)
    return [
        Goal("next unit in ≤ 0.2 s", f"{warm.next:.2f} s", warm.next <= 0.2),
        Goal(f"≤ 2 % of slot time with units of {seconds} s", f"{loss:.2f} %", loss <= 2),
        Goal("sharing never loses", f"{worst:.2f}×", worst >= 1),
    ]


if __name__ == "__main__":
    main()
