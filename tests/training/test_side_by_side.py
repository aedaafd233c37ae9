"""Processes that really train side by side, on a CPU: their pace, their memory, and what is said of one that dies."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
import torch

from tests.training.test_sharing import asked
from training.sharing import kind_of_cpu
from training.side_by_side import MeasuringFailed, OutOfMemory, kind_of, measure, side_by_side

pytestmark = pytest.mark.long

SMALLEST = asked("shufflenet_v2_x0_5", size=32, batch=4, device="cpu")


def trainers() -> list[int]:
    """Process ids of the ones that train, in the order in which they were started."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if b"training.learning.sharing" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


@contextmanager
def killing(which: int) -> Iterator[None]:
    """As soon as there are so many, the last of them is killed, once."""
    over = Event()

    def watch() -> None:
        while not over.wait(0.01):
            if len(found := trainers()) >= which:
                os.kill(found[-1], signal.SIGKILL)
                return

    thread = Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.timeout(600)
def test_one_and_two_processes_are_measured_in_turns_with_their_memory(tmp_path: Path) -> None:
    begun = time.monotonic()
    table = measure(SMALLEST, tmp_path, "here", most=2, seconds=0.3, rounds=2)
    assert [row.processes for row in table.rows] == [1, 2]
    assert all(row.films_per_second > 0 and row.memory > 50e6 for row in table.rows)
    assert (table.asked, table.kind, table.out_of_memory) == (SMALLEST, "here", "")
    assert time.monotonic() - begun > 4 * 0.3
    assert not trainers()


@pytest.mark.timeout(600)
def test_a_process_that_is_killed_counts_as_one_without_memory_and_ends_the_table(tmp_path: Path) -> None:
    with killing(2):
        table = measure(SMALLEST, tmp_path, "here", most=3, seconds=0.2, rounds=1)
    assert [row.processes for row in table.rows] == [1]
    assert "was killed (SIGKILL): out of memory, or by hand" in table.out_of_memory
    assert table.is_whole
    assert not trainers()


def test_one_process_alone_that_has_no_memory_is_an_error(tmp_path: Path) -> None:
    greedy = asked("shufflenet_v2_x0_5", size=1024, batch=1 << 30, device="cpu")
    with pytest.raises(OutOfMemory, match=r"had no memory left: .*MemoryError: Unable to allocate"):
        measure(greedy, tmp_path, "here", most=2, seconds=0.1)
    assert not (tmp_path / "calibration").exists()


def test_what_ends_for_another_reason_is_told_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(MeasuringFailed, match=r"that trained resnet81 .* ended with code 1: .*unknown backbone 'resnet81'"):
        side_by_side(asked("resnet81", device="cpu"), tmp_path, 1, 0.1)
    assert not trainers()


def test_the_kind_of_a_cpu_names_its_cores() -> None:
    assert kind_of("cpu") == kind_of_cpu()
    assert "core" in kind_of_cpu()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(MeasuringFailed, match="no GPU is visible here"):
        kind_of("cuda")
