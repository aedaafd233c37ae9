"""Runs in a container in place of a worker: says in one line what it can do there, and stays when asked to."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS = ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")
LIMITS = {
    "memory": ("memory.max", "memory/memory.limit_in_bytes"),
    "pids": ("pids.max", "pids/pids.max"),
}
MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list")


def outcome(deed: Callable[[], object]) -> str:
    """`done`, or the name of the error."""
    try:
        deed()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def limit(names: tuple[str, ...]) -> int | None:
    """A limit of the control group, in whichever version."""
    files = [Path("/sys/fs/cgroup") / name for name in names]
    return next((int(file.read_text()) for file in files if file.exists()), None)


def run_from_tmp() -> None:
    program = Path("/tmp/program")
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    subprocess.run([program], check=True)


def probe() -> dict[str, Any]:
    """What a process here may do."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {
        **{name: status[name] for name in STATUS},
        **{name: limit(files) for name, files in LIMITS.items()},
        "uid": os.getuid(),
        "gid": os.getgid(),
        "pid": os.getpid(),
        "writes": {
            place: outcome(lambda place=place: Path(place, "file").write_text(""))
            for place in ("/app", "/etc", "/data", "/state", "/tmp")
        },
        "runs from /tmp": outcome(run_from_tmp),
        "routes": [line for line in Path("/proc/net/route").read_text().splitlines()[1:] if line.split()[1] == "00000000"],
        "reaches": {
            host: outcome(lambda host=host: socket.create_connection((host, 80), timeout=3).close())
            for host in ("192.0.2.1", "198.51.100.1")
        },
        "devices": [device.name for device in Path("/dev").iterdir()],
        "open": [place for place in MASKED if Path(place).exists() and not Path(place).is_char_device()],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe()) + "\n")
    sys.stdout.flush()
    if os.environ.get("MDMT_STAY"):
        asked = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: asked.set())
        asked.wait(120)
