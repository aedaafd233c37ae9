"""A disk that is full: the run pauses, nothing is marked done or failed, and it goes on when there is room."""

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.journeys.under_fire.ground import Ground, Runner, Tally, unit
from training.tracking import Tracking, default_uri

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path, empty_store: Path, films: Path) -> Iterator[Ground]:
    """A home on a file system of its own."""
    home = tmp_path / "disk"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(home)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        shutil.copy(empty_store, home / "mlflow.db")
        yield Ground(home, Tracking(default_uri(home), home), films)
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=False)


def fill(ballast: Path) -> None:
    """Down to the last block."""
    with ballast.open("ab", buffering=0) as file:
        for piece in (MIB, 4096):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * piece)


def keep_full(ballast: Path, seconds: float) -> None:
    """What is given back by others meanwhile is taken too."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        fill(ballast)
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("free_gib", "standing_in"),
    [
        pytest.param(0.0, True, id="found by a write that fails"),
        pytest.param(0.004, True, id="found before a unit begins"),
        pytest.param(0.0, False, id="found by a checkpoint of a real training"),
    ],
)
def test_a_full_disk_pauses_the_run_and_room_lets_it_go_on(
    free_gib: float, standing_in: bool, small_disk: Ground, tmp_path: Path
) -> None:
    ground, ballast = small_disk, small_disk.home / "ballast"
    units = [unit(seed, epochs=4, fold=f"slow-{seed}") for seed in range(3)]
    runner = Runner(ground.jobs(units, free_gib=free_gib, attempts=1), tmp_path, standing_in=standing_in)
    journal = tmp_path / "journal.jsonl"
    runner.until(lambda seen: any(event["event"] == "epoch" for event in seen))
    fill(ballast)
    keep_full(ballast, 4)
    done = Tally([journal]).count("done")
    assert Tally([journal]).count("disk-full")
    assert not Tally([journal]).count("failed")
    assert not runner.over
    assert len(done) < len(units)
    ballast.unlink()
    freed, before = time.time(), len(Tally([journal]).all)
    runner.until(lambda seen: any(event["event"] in ("claimed", "epoch") for event in seen[before:]))
    assert time.time() - freed <= 30
    runner.wait()
    assert not Tally([journal]).count("failed")
    ground.results(units)
    ground.metrics_are_complete(units)
    with sqlite3.connect(ground.home / "mlflow.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert ground.desks() == []
