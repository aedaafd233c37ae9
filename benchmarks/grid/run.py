"""`make bench-grid`: what the grid adds to the units themselves. Writes benchmarks/grid.md.

Units that sleep for a minute on two slots; real units in a fresh and in a warm worker; units that share the cores; and studies of 200
small units on this and older code, which `benchmarks.grid.protocol` has timed.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.grid import packing, warmth
from benchmarks.grid.protocol import STATE
from tests.contracts.executor_overhead import SLOTS, SlotTimes, slot_times

OUTPUT = Path(__file__).parents[1] / "grid.md"


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.grid.run")
    options.add_argument("--quick", action="store_true", help="a minute, to see that it runs")
    options.add_argument("--output", type=Path, default=OUTPUT)
    options.add_argument("--state", type=Path, default=STATE, help="where benchmarks.grid.protocol left its files")
    given = options.parse_args()
    count, seconds, rounds, taken = (4, 2, 1, 1.0) if given.quick else (8, 60, 3, 8.0)
    with tempfile.TemporaryDirectory() as name:
        asleep = slot_times(_new(name, "asleep"), "process", count, seconds)
        warm = warmth.measure(_new(name, "warm"), 3 if given.quick else 8)
    packed = packing.measure(rounds, taken, packing.CASES[:1] if given.quick else packing.CASES)
    studies = [json.loads(path.read_text()) for path in sorted(given.state.glob("protocol-*.json"))]
    lines = [*_head(given.quick), *_slots(asleep, count, seconds), *_warm(warm), *_packing(packed), *_studies(studies)]
    given.output.write_text("\n".join([*lines, *_goals(asleep, seconds, warm, packed), ""]))
    sys.stdout.write(f"{given.output}\n")


def _new(name: str, part: str) -> Path:
    folder = Path(name) / part
    folder.mkdir()
    return folder


def _head(quick: bool) -> list[str]:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "mlflow", "sqlalchemy"))
    form = " (quick form: too short to be quoted)" if quick else ""
    return [
        "# The grid: what stands between the units", "",
        f"Written by `make bench-grid`{form}. {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; Python "
        f"{platform.python_version()}, {versions}. Wall-clock times; workers are processes of one thread, MLflow is an SQLite file.", "",
    ]  # fmt: skip


def _slots(asleep: SlotTimes, count: int, seconds: int) -> list[str]:
    return [
        "## Loss to scheduling", "",
        f"{count} units that sleep for {seconds} s on {SLOTS} slots: {1000 * asleep.overhead:.0f} ms of slot time per unit beside the "
        f"sleep, {100 * _loss(asleep, seconds):.2f} %; between the end of a training and the next claim "
        f"{1000 * median(asleep.gaps):.0f} ms (median), {1000 * max(asleep.gaps):.0f} ms at most.", "",
    ]  # fmt: skip


def _loss(asleep: SlotTimes, seconds: int) -> float:
    return asleep.overhead / (seconds + asleep.overhead)


def _warm(warm: warmth.Warmth) -> list[str]:
    return [
        "## A warm worker", "",
        "Real units (shufflenet_v2_x0_5, 24 films of 32 px). From the start of a process to its first finished epoch "
        f"{warm.fresh:.2f} s; in a warm worker {1000 * warm.next:.0f} ms from the end of a training to the next claim, and "
        f"{1000 * warm.first_epoch:.0f} ms from there to the first finished epoch.", "",
    ]  # fmt: skip


def _packing(packed: Sequence[packing.Packed]) -> list[str]:
    lines = [
        "## Sharing the cores", "",
        "Films per second of training (augmentation and step, channels_last, float32), all processes together.", "",
        "| backbone, size, batch | 1 unit × 1 thread | 1 unit × 2 threads | 2 units × 1 thread | gain of sharing |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {one.backbone}, {one.size} px, {one.batch} | {one.one:.0f} | {one.threads:.0f} | {one.units:.0f} | "
        f"{one.units / one.threads:.2f}× |" for one in packed
    ]  # fmt: skip
    worst = min(one.units / one.threads for one in packed)
    said = "is never worse than" if worst >= 1 else "loses against"
    return [
        *lines, "",
        f"One unit of one thread per core {said} one unit on all cores (least gain {worst:.2f}×). `mdmt run` starts as many workers as "
        "there are cores, and recipes give a unit one thread; `threads` is part of a unit's result and so stays with the recipe.", "",
    ]  # fmt: skip


def _studies(studies: Sequence[dict[str, Any]]) -> list[str]:
    if not studies:
        return ["## A study of small units", "", "Not timed here: `python -m benchmarks.grid.protocol --checkout FOLDER`.", ""]
    slowest = max(study["wall"] / study["units"] for study in studies)
    lines = [
        "## A study of small units", "",
        "`mdmt run` of the same recipe (`benchmarks.grid.protocol`), films prepared before the clock starts.", "",
        "| code | units | workers | wall, s | own CPU, s | wall per unit, s | against the slowest |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for study in sorted(studies, key=lambda study: study["at"]):
        each = study["wall"] / study["units"]
        lines.append(
            f"| {study['commit']} | {study['units']} | {study['workers']} | {study['wall']:.0f} | {study['cpu']:.0f} | {each:.2f} | "
            f"{slowest / each:.2f}× |"
        )
    return [*lines, ""]


def _goals(asleep: SlotTimes, seconds: int, warm: warmth.Warmth, packed: Sequence[packing.Packed]) -> list[str]:
    goals = [
        ("next unit in ≤ 0.2 s", f"{warm.next:.2f} s", warm.next <= 0.2),
        (
            f"≤ 2 % of slot time with units of {seconds} s",
            f"{100 * _loss(asleep, seconds):.2f} %",
            _loss(asleep, seconds) <= 0.02,
        ),
        (
            "sharing never loses",
            f"{min(one.units / one.threads for one in packed):.2f}×",
            all(p.units >= p.threads for p in packed),
        ),
    ]
    lines = ["## Goals", "", "| goal | found | |", "|---|---|---|"]
    return [*lines, *(f"| {name} | {found} | {'reached' if met else 'not reached'} |" for name, found, met in goals)]


if __name__ == "__main__":
    main()
