"""Contenders that run at the same time: each gets ready by itself, then all begin at once."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from benchmarks.page import ROOT


def side_by_side(module: str, arguments: Sequence[object], processes: int, environment: Mapping[str, str]) -> list[str]:
    """Run a module that calls `wait_for_the_others` in so many processes; what each prints when it is done."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    own = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=own)
        for _ in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()  # it is warm
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate()[0] for process in running]


def wait_for_the_others() -> None:
    """Say that this process is warm, and return when all are."""
    sys.stdout.write("warm\n")
    sys.stdout.flush()
    sys.stdin.readline()
