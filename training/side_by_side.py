"""How many processes should train side by side on one device: films per second of 1, 2, 3, … of them, measured.

No torch here: what trains are processes of their own (`learning/sharing.py`), and whoever measures takes no memory of the device.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple, Self

from training.memory import tells_of_no_memory
from training.sharing import RAISES, Asked, Row, Table, kind_of_cpu

ROOT = Path(__file__).parents[1]
ROUNDS = 3


class OutOfMemory(MemoryError):
    """A process had no memory left, or was killed, which is what a kernel does then."""


class MeasuringFailed(RuntimeError):
    """A process ended for another reason."""


class Trained(NamedTuple):
    """Of one process: its pace, and the peak of its memory in bytes."""

    films_per_second: float
    memory: int


def measure(asked: Asked, home: Path, kind: str, most: int, seconds: float, rounds: int = ROUNDS) -> Table:
    """Processes in turns, one more each time, until that raises the sum by less than 5 % or one has no memory, `most` at most.

    Each trains for so many seconds. Raises OutOfMemory when one alone has none, MeasuringFailed.
    """
    rates: dict[int, list[float]] = {}
    memory: dict[int, int] = {}
    died = ""
    for turn in range(rounds):
        for processes in range(1, most + 1):
            try:
                found = side_by_side(asked, home, processes, seconds)
            except OutOfMemory as error:
                if processes == 1:
                    raise
                most, died = processes - 1, str(error)
                break
            rates.setdefault(processes, []).append(sum(one.films_per_second for one in found))
            memory[processes] = max(memory.get(processes, 0), *(one.memory for one in found))
            if turn == 0 and processes > 1 and rates[processes][0] < RAISES * rates[processes - 1][0]:
                most = processes
                break
    rows = (Row(processes=n, films_per_second=median(rates[n]), memory=memory[n]) for n in range(1, most + 1))
    return Table(asked=asked, kind=kind, rows=tuple(rows), out_of_memory=died)


def side_by_side(asked: Asked, home: Path, processes: int, seconds: float) -> list[Trained]:
    """So many processes that begin at the same moment, when all are warm. Raises OutOfMemory, MeasuringFailed; none is left behind."""
    with ExitStack() as stack:
        what, given = f"a process that trained {asked}", ("train", str(home), asked.model_dump_json(), str(seconds))
        crew = [stack.enter_context(_Process(what, asked.threads, *given)) for _ in range(processes)]
        for one in crew:
            one.hear()  # it is warm
        for one in crew:
            one.go()
        return [Trained(*json.loads(one.hear())) for one in crew]


def kind_of(device: str) -> str:
    """The device here, in words. Raises MeasuringFailed when it is "cuda" and there is none."""
    if device == "cpu":
        return kind_of_cpu()
    with _Process("the process that looked for a GPU", 1, "kind") as one:
        return one.hear().strip()


class _Process:
    """One of them, as the one that started it sees it; it ends with the context."""

    def __init__(self, what: str, threads: int, *arguments: str) -> None:
        self._what, self._log = what, tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", "training.learning.sharing", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True, env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def go(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, which is the next thing that is heard of it
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def hear(self) -> str:
        """Its next line."""
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        code = self._process.wait()
        self._log.seek(0)
        last = (self._log.read().strip().splitlines() or ["it said nothing"])[-1]
        if code == -signal.SIGKILL:
            raise OutOfMemory(f"{self._what} was killed (SIGKILL): out of memory, or by hand")
        if tells_of_no_memory(last):
            raise OutOfMemory(f"{self._what} had no memory left: {last}")
        raise MeasuringFailed(f"{self._what} ended with code {code}: {last}")
