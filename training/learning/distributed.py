"""One network trained by several processes of this machine, each with a GPU or, to try it, with threads of the CPU.

`fit_together` starts the processes (see `rank`), hands them what to train, and hears rank 0. It owns them: none outlives it, and the
first one that dies ends the others and the training. Checkpoints are those of one process, written by rank 0.
"""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from training.data.samples import Samples
from training.learning.devices import Way, way_of
from training.learning.fitting import Fit, Progress, nobody_stops
from training.learning.network import Network
from training.settings import Training

TICK_SECONDS = 0.1
LAST_WORDS_SECONDS = 1.0  # after the first failure: the others fail because of it, and may say so sooner
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}  # ranks are neighbours; a container may have nothing else


class RankDied(RuntimeError):
    """A process of a training ended without a word. `kind`: "killed" (SIGKILL), "segfault" (any other signal) or "exception"."""

    def __init__(self, rank: int, size: int, code: int) -> None:
        self.kind = "killed" if code == -signal.SIGKILL else "segfault" if code < 0 else "exception"
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        super().__init__(f"process {rank} of the {size} (from 0) that train this unit {how}")


class TooFewGpus(ValueError):
    """A training wants more GPUs than this process sees."""


def fit_together(
    processes: int,
    network: Network,
    train: Samples,
    val: Samples,
    settings: Training,
    seed: int,
    progress: Progress | None = None,
    checkpoints: Path | None = None,
    device: str = "cpu",
    keep_going: Callable[[], None] | None = None,
    identity: str = "",
    way: Way | None = None,
) -> Fit:
    """What `fit` does, by `processes` ≥ 2 of them: on "cuda" with NCCL, rank r on GPU r of those visible; on "cpu" with gloo.

    Every batch is that of `fit` and is cut among the processes; the learning rate and the loss stay those of the whole batch (see
    `Team`). Augmentation is the film's own, whoever has it. The losses are therefore those of one process, up to rounding, but for:

    - Dropout. Each rank draws its own masks, seeded by (seed, epoch, rank).
    - BatchNorm on "cpu": each process normalises by its part of the batch; the running statistics are averaged over the processes at
      the end of each epoch, before validation. On "cuda" it becomes SyncBatchNorm: statistics are those of the whole batch.

    Validation is dealt out in the pieces of `predict`, and every rank has all of its results. The same call with as many processes
    gives the same numbers, on a CPU to the bit, also when it goes on from a checkpoint. Mapped films are mapped by each process, not
    copied. Each has as many threads as the caller. `keep_going` is asked ten times a second, and after each epoch before its
    checkpoint is written; when it raises, the processes are killed at once.

    Raises what a rank raised; RankDied when one was killed or crashed; TooFewGpus.
    """
    seen = torch.cuda.device_count() if device == "cuda" else processes
    if seen < processes:
        raise TooFewGpus(
            f"the unit asks for {processes} GPUs and {seen} are visible here: lower gpus_per_unit or give it more GPUs"
        )
    buffer = io.BytesIO()
    torch.save((network.cpu(), train, val, settings, seed, checkpoints, device, identity, way, torch.get_num_threads()), buffer)
    with _ranks(processes) as ranks:
        weights, best_epoch, history = _hear(ranks, buffer.getbuffer(), progress, keep_going or nobody_stops)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return Fit(network.to(device, memory_format=(way or way_of(settings)).memory_format), best_epoch, history)


class _Rank:
    """One process, as the one that started it sees it."""

    def __init__(self, number: int, size: int, meeting: Path) -> None:
        self.number, self.size = number, size
        self.connection, theirs = Pipe()
        place = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(size)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "training.learning.rank", str(theirs.fileno()), str(meeting)],
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env=LOOPBACK | os.environ | place | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        theirs.close()

    def hear(self) -> tuple[Any, ...]:
        """Its next message; its end is one, ("failed", when, error)."""
        try:
            message: tuple[Any, ...] = self.connection.recv()
        except (EOFError, OSError):
            return "failed", 0.0, RankDied(self.number, self.size, self.process.wait())
        return message

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()


@contextmanager
def _ranks(size: int) -> Iterator[list[_Rank]]:
    ranks: list[_Rank] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for number in range(size):
                ranks.append(_Rank(number, size, Path(folder) / "meeting"))
            yield ranks
        finally:
            for rank in ranks:
                rank.end()


def _hear(
    ranks: Sequence[_Rank], work: memoryview, progress: Progress | None, keep_going: Callable[[], None]
) -> tuple[dict[str, Any], int, list[dict[str, float]]]:
    """Follow the ranks to the end of the training: best weights, their epoch, and the history."""
    while True:
        keep_going()
        for rank in _talking(ranks, TICK_SECONDS):
            kind, *content = rank.hear()
            if kind == "ready":
                with suppress(ConnectionError):  # it is dead, which is the next thing that is heard of it
                    rank.connection.send_bytes(work)
            elif kind == "epoch":
                if progress:
                    progress(*content)
                keep_going()
                with suppress(ConnectionError):
                    rank.connection.send("go on")
            elif kind == "fit":
                return tuple(content)
            else:
                raise _first_cause(ranks, rank, *content)


def _first_cause(ranks: Sequence[_Rank], rank: _Rank, when: float, error: Exception) -> Exception:
    """A rank that dies makes the others fail: the one that ended without a word, else the first, is why."""
    failures, until = [(when, error)], time.monotonic() + LAST_WORDS_SECONDS
    silent = {rank.number}
    while (left := until - time.monotonic()) > 0 and len(silent) < len(ranks):
        for other in _talking([r for r in ranks if r.number not in silent], left):
            kind, *content = other.hear()
            if kind == "failed":
                silent.add(other.number)
                failures.append((content[0], content[1]))
    return min(failures, key=lambda failure: failure[0])[1]


def _talking(ranks: Sequence[_Rank], seconds: float) -> list[_Rank]:
    ready = wait([rank.connection for rank in ranks], seconds)
    return [rank for rank in ranks if rank.connection in ready]
