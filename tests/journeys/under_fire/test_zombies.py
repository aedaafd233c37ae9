"""Workers that are killed or frozen: what they had is taken over, and whoever wakes up too late changes nothing."""

import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.under_fire.ground import Ground, Runner, Tally, events, family, frozen, unit

pytestmark = pytest.mark.long

LEASE = 2.0


def holds_no_lock(database: Path) -> bool:
    connection = sqlite3.connect(database, timeout=0.2, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def freeze_outside_a_transaction(pid: int, database: Path) -> None:
    """SQLite has one lock for all; a process frozen while it holds it would freeze everybody, and that is another story."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.05)
        if holds_no_lock(database):
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)


def test_a_frozen_workers_unit_is_taken_over_and_its_own_commit_is_refused_when_it_wakes(
    new_ground: Callable[[], Ground], tmp_path: Path
) -> None:
    ground, units = new_ground(), [unit(1, epochs=4, fold="slow"), unit(2), unit(3)]
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    one = Runner(ground.jobs(units[:1], lease_seconds=LEASE), first)
    one.until(lambda seen: any(event["event"] == "epoch" for event in seen))
    (worker,) = one.workers()
    time.sleep(0.7)  # its epoch is delivered by now
    freeze_outside_a_transaction(worker, ground.home / "mlflow.db")
    with frozen(worker):
        Runner(ground.jobs(units, lease_seconds=LEASE), second).wait()  # ends only when it has done that unit too
        before = ground.results(units)
    one.wait()
    assert [e["event"] for e in events(first / "journal.jsonl")].count("lost") == 1
    fences = {e["fence"] for journal in (first, second) for e in events(journal / "journal.jsonl") if e["event"] == "claimed"}
    assert fences == {1, 2}
    tally = Tally([first / "journal.jsonl", second / "journal.jsonl"])
    assert tally.count("trained") == Counter(unit.fingerprint for unit in units)
    assert ground.results(units) == before
    ground.metrics_are_complete(units)
    assert ground.desks() == []


@pytest.mark.slow
def test_workers_killed_at_random_moments_cost_one_epoch_each_and_no_result(
    new_ground: Callable[[], Ground], tmp_path: Path, dice: random.Random
) -> None:
    units, ground, killed = family(24, epochs=5), new_ground(), 0
    calm = tmp_path / "calm"
    calm.mkdir()
    other = new_ground()
    Runner(other.jobs(units), calm, workers=2).wait()
    runner = Runner(ground.jobs(units, attempts=100), tmp_path, workers=2)
    seen = 0
    while not runner.over and killed < 12:
        told = len(events(tmp_path / "journal.jsonl"))
        if told < seen + 2:  # a process killed again and again before it is ready is another story: WorkersFail
            time.sleep(0.02)
            continue
        time.sleep(dice.uniform(0, 0.5))
        if workers := runner.workers():
            seen = len(events(tmp_path / "journal.jsonl"))
            os.kill(dice.choice(workers), signal.SIGKILL)
            killed += 1
    runner.wait()
    assert ground.results(units) == other.results(units)
    ground.metrics_are_complete(units)
    assert ground.desks() == []
    assert killed >= 10
    repeated = Tally([tmp_path / "journal.jsonl"]).epochs().total() - sum(u.training.max_epochs for u in units)
    sys.stdout.write(f"{killed} workers killed, {repeated} epochs done twice\n")
    assert repeated <= killed
    failures = [event for event in events(tmp_path / "journal.jsonl") if event["event"] == "failed"]
    assert {event["kind"] for event in failures} <= {"killed"}
