"""What this host has: its processor and cores, and the engine that is fastest on them."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from cxr.graphs import EngineName, installed

_TIMED = "import sys; from cxr.bundle import time_golden; print(time_golden(sys.argv[1], sys.argv[2]))"
_TIMED_SECONDS = 120


def fastest(folder: Path, notes: Path) -> EngineName:
    """The installed engine that answers a bundle's golden film soonest and as recorded; measured once, kept in the file `notes`.

    Each is measured in a process of its own, so that the one not taken leaves nothing in this one's memory. Where only one is
    installed, or none answers as recorded, it is the first one: what is wrong then shows when the bundle is checked.
    """
    engines = installed()
    if len(engines) == 1:
        return engines[0]
    key = f"{folder.name} on {processor()}, {cores()} cores: {' or '.join(engines)}"
    known: dict[str, EngineName] = json.loads(notes.read_text()) if notes.is_file() else {}
    if known.get(key) not in engines:
        times = {engine: _timed(folder, engine) for engine in engines}
        known[key] = min(engines, key=times.__getitem__)
        notes.parent.mkdir(parents=True, exist_ok=True)
        fresh = notes.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(known, indent=2))
        fresh.replace(notes)
    return known[key]


def _timed(folder: Path, engine: EngineName) -> float:
    """Seconds for one film, infinite where the engine does not answer as recorded."""
    command = [sys.executable, "-c", _TIMED, str(folder), engine]
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
