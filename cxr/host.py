"""What this host has: its processor and cores, and the engine and precision that are fastest on them."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cxr import durable
from cxr.graphs import Way

_TIMED = "import sys; from cxr.bundle import Way, time_golden; print(time_golden(sys.argv[1], Way(*sys.argv[2:])))"
_TIMED_SECONDS = 120
NEARLY = 1.05


def fastest(folder: Path, ways: Sequence[Way], notes: Path) -> Way:
    """The way that answers most films per second when every core has one, and as recorded; measured once, kept in the file `notes`.
    Of those that are nearly as fast it is the first: what a machine's mood decides would be another engine, and memory, at each start.

    Each is measured in a process of its own, so that the ones not taken leave nothing in this one's memory. Where there is only one,
    or none answers as recorded, it is the first one: what is wrong then shows when the bundle is checked.
    """
    if len(ways) == 1:
        return ways[0]
    named = {str(way): way for way in ways}
    key = f"{folder.name} on {processor()}, {cores()} cores at once: {' or '.join(named)}"
    known = _known(notes)
    if known.get(key) not in named:
        times = {name: _timed(folder, way) for name, way in named.items()}
        known[key] = next(name for name, seconds in times.items() if seconds <= NEARLY * min(times.values()))
        notes.parent.mkdir(parents=True, exist_ok=True)
        durable.write(notes, json.dumps(known, indent=2).encode())
    return named[known[key]]


def _known(notes: Path) -> dict[str, str]:
    """What was measured; nothing where the file cannot be read, which costs no more than to measure again."""
    try:
        known = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: way for key, way in known.items() if isinstance(way, str)} if isinstance(known, dict) else {}


def _timed(folder: Path, way: Way) -> float:
    """Seconds per film, infinite where it is not answered as recorded."""
    command = [sys.executable, "-c", _TIMED, str(folder), *way]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMED_SECONDS, check=True)
    except subprocess.SubprocessError:
        return float("inf")
    return float(done.stdout)


def processor() -> str:
    """Name of this processor."""
    return _told("model name") or platform.machine()


def instructions() -> tuple[str, ...]:
    """What this processor understands, as the kernel names it ("avx2", "amx_bf16", …); empty where the kernel does not say."""
    return tuple(_told("flags").split())


def _told(field: str) -> str:
    """What the kernel says of the first core; empty where it says nothing."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container where there is one."""
    allowed, quota = len(os.sched_getaffinity(0)), Path("/sys/fs/cgroup/cpu.max")
    if not quota.is_file():
        return allowed
    share, period = quota.read_text().split()
    return allowed if share == "max" else max(1, min(allowed, round(int(share) / int(period))))
