"""A version's first run, in a process of its own with limits: whatever its graphs do there, the service does not notice.

`python -m serving.trial FOLDER THREADS BYTES ENGINE` writes one JSON line: `{}`, or `{"kind": …, "says": …}` for what must not be served.
"""

import json
import logging
import os
import resource
import subprocess
import sys
import traceback
from pathlib import Path
from typing import cast

from cxr.bundle import Bundle
from cxr.graphs import EngineName
from cxr.manifest import BundleError

log = logging.getLogger("serving")
MIB = 1024 * 1024
CRASHED = "the version's first run, in a process of its own, "


def tried(folder: Path, threads: int, max_bytes: int, seconds: float, engine: str = "") -> None:
    """Load the bundle in `folder` and replay its golden cases in a child with `max_bytes` of memory. Raises BundleError."""
    command = [sys.executable, "-m", "serving.trial", str(folder), str(threads), str(max_bytes), engine]
    root = str(Path(__file__).parents[1])
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "HOME", "OMP_NUM_THREADS") if name in os.environ}
    try:
        done = subprocess.run(
            command, env={**kept, "PYTHONPATH": root}, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{CRASHED}took longer than {seconds:g} s", "slow") from error
    try:
        found = json.loads(done.stdout.decode().splitlines()[-1])
        if done.stderr:
            log.warning("the first run of a version said: %s", done.stderr.decode(errors="replace")[-2000:])
    except (IndexError, ValueError) as error:
        raise BundleError(f"{CRASHED}ended with code {done.returncode} and no word", "crashed") from error
    if found:
        raise BundleError(found["says"], found["kind"])


def _run(folder: Path, threads: int, max_bytes: int, engine: EngineName | None) -> dict[str, str]:
    os.nice(10)  # the service goes on answering beside it
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    too_big = {"kind": "too-big", "says": f"the version needs more memory than the {max_bytes // MIB} MiB that one may take"}
    try:
        Bundle(folder, threads, engine).check_golden()
    except MemoryError:
        return too_big
    except BundleError as error:
        return {"kind": error.kind, "says": str(error)}
    except Exception as error:  # noqa: BLE001 - each engine raises classes of its own
        if "alloc" in str(error).lower():
            return too_big
        traceback.print_exc()
        return {"kind": "crashed", "says": f"{CRASHED}failed with {type(error).__name__}"}
    return {}


if __name__ == "__main__":
    found = _run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), cast(EngineName, sys.argv[4]) or None)
    sys.stdout.write(json.dumps(found) + "\n")
