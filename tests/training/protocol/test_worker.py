"""What a worker says and does with one job: claims, failures, full disks, parents, and being told to stop."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from tests.journeys.under_fire import stand_in
from tests.journeys.under_fire.ground import ROOT, Ground, film_store, unit
from training.protocol import worker as module
from training.protocol.claim import Busy, Claim
from training.protocol.claims import ClaimTable
from training.protocol.claims_database import ClaimsUnavailable
from training.protocol.desk import WEIGHTS, Desk
from training.protocol.job import Job
from training.protocol.owner import own_name
from training.protocol.unit import Unit
from training.protocol.worker import Worker, describe
from training.tracking import Tracking, TrackingError, default_uri

NUMBERS = iter(range(2000, 3000))


class Bench:
    """A worker in this process, with the stand-in training."""

    def __init__(self, home: Path, films: Path) -> None:
        self.ground = Ground(home, Tracking(default_uri(home), home), films)
        self.claims = ClaimTable(self.ground.tracking.claims_uri, 60)
        self.said: list[dict[str, Any]] = []
        self.worker = Worker(lambda event, **fields: self.said.append({"event": event, **fields}))
        self.train = stand_in.train

    def do(self, job: Job) -> list[str]:
        """Do a job to its end; the kinds of events without the epochs."""
        self.said.clear()
        self.worker.do(job)
        self.worker.finish()
        return [said["event"] for said in self.said if said["event"] != "epoch"]

    def job(self, one: Unit, **running: Any) -> Job:
        (job,) = self.ground.jobs([one], **running)
        return job

    def desk(self, one: Unit) -> Desk:
        return Desk(self.ground.home, one.fingerprint)


@pytest.fixture(scope="module")
def bench(new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(new_home(), film_store(tmp_path_factory.mktemp("films") / "noise"))


@pytest.fixture(autouse=True)
def no_torch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    instead = ModuleType("training.protocol.execution")
    instead.train = lambda *args, **kwargs: bench.train(*args, **kwargs)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "training.protocol.execution", instead)
    monkeypatch.setattr(stand_in, "EPOCH_SECONDS", 0.0)
    yield
    bench.train = stand_in.train


@pytest.fixture
def one() -> Unit:
    return unit(next(NUMBERS))


def raising(error: BaseException) -> Callable[..., Any]:
    def train(*_: object, **__: object) -> None:
        raise error

    return train


def test_a_unit_is_claimed_trained_and_done_and_found_done_when_it_comes_again(bench: Bench, one: Unit) -> None:
    assert bench.do(bench.job(one)) == ["claimed", "trained", "done"]
    bench.ground.results([one])
    assert bench.do(bench.job(one)) == ["done"]
    assert not bench.desk(one).folder.exists()


@pytest.mark.parametrize("owner", ["a dead process", "this process"])
def test_a_claim_that_nobody_works_on_is_taken_at_once(owner: str, bench: Bench, one: Unit) -> None:
    machine, pid, started = own_name().rsplit("/", 2)
    name = own_name() if owner == "this process" else f"{machine}/{pid}/{int(started) - 1}"
    assert isinstance(bench.claims.acquire(one.fingerprint, name), Claim)
    assert bench.do(bench.job(one)) == ["claimed", "trained", "done"]
    assert bench.said[0]["fence"] == 2


@pytest.mark.parametrize("owner", ["elsewhere/1/1", "parent"])
def test_a_unit_that_a_living_process_or_another_machine_has_is_busy(owner: str, bench: Bench, one: Unit) -> None:
    name = own_name().replace(f"/{os.getpid()}/", f"/{os.getppid()}/") if owner == "parent" else owner
    if owner == "parent":
        machine, pid, _ = name.rsplit("/", 2)
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        name = f"{machine}/{pid}/{started}"
    assert isinstance(bench.claims.acquire(one.fingerprint, name), Claim)
    assert bench.do(bench.job(one)) == ["busy"]
    assert isinstance(bench.claims.acquire(one.fingerprint, "third"), Busy)


def test_a_unit_that_raises_is_counted_and_after_its_budget_found_quarantined_with_a_failed_run(bench: Bench, one: Unit) -> None:
    bench.train = raising(ValueError("no good"))
    for _ in range(2):
        assert bench.do(bench.job(one, attempts=2)) == ["claimed", "failed"]
        assert (bench.said[-1]["kind"], bench.said[-1]["quarantined"]) == ("exception", False)
    assert bench.do(bench.job(one, attempts=2)) == ["failed"]
    assert bench.said[-1]["quarantined"]
    assert bench.said[-1]["reason"] == "exception, failure 2 of 2 allowed: ValueError: no good"
    assert not [run for run in bench.ground.runs_of(one) if run.info.status == "RUNNING"]
    bench.claims.forgive([one.fingerprint])
    bench.train = stand_in.train
    assert bench.do(bench.job(one)) == ["claimed", "trained", "done"]
    bench.ground.results([one])


def test_a_unit_that_fails_after_it_was_taken_over_is_lost_and_not_failed(bench: Bench, one: Unit) -> None:
    def overtaken(*_: object, **__: object) -> None:
        standing = bench.claims.states([one.fingerprint])[one.fingerprint]
        bench.claims.release(Claim(one.fingerprint, standing.fence, "", None))
        assert isinstance(bench.claims.acquire(one.fingerprint, "another"), Claim)
        raise FileNotFoundError("the desk was cleared meanwhile")

    bench.train = overtaken
    assert bench.do(bench.job(one))[:2] == ["claimed", "lost"]
    assert bench.claims.states([one.fingerprint])[one.fingerprint].failures == 0


@pytest.mark.parametrize("database_too", [False, True])
def test_a_disk_that_fills_up_fails_nothing_and_the_next_attempt_goes_on(
    database_too: bool, bench: Bench, one: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped = RuntimeError("cannot write")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    bench.train = raising(wrapped)

    def refuse(*_: object) -> None:
        raise ClaimsUnavailable("database or disk is full")

    with monkeypatch.context() as patch:
        if database_too:
            patch.setattr(ClaimTable, "release", refuse)
        assert bench.do(bench.job(one, attempts=1)) == ["claimed", "disk-full"]
    bench.train = stand_in.train
    assert bench.do(bench.job(one, attempts=1)) == ["claimed", "trained", "done"]
    assert bench.claims.states([one.fingerprint])[one.fingerprint].failures == 0
    bench.ground.results([one])


def test_nothing_begins_with_less_room_than_asked_for(bench: Bench, one: Unit) -> None:
    assert bench.do(bench.job(one, free_gib=1e9)) == ["disk-full"]
    assert bench.claims.states([one.fingerprint]) == {}


def test_a_committed_unit_waits_for_the_tracking_server_that_has_its_run(
    bench: Bench, one: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise TrackingError("away")

    bench.do(bench.job(one))
    with monkeypatch.context() as patch:
        patch.setattr(module, "settle", away)
        assert bench.do(bench.job(one)) == ["busy"]
    assert bench.do(bench.job(one)) == ["done"]


def test_a_parent_is_read_from_its_desk_before_it_is_delivered_and_from_mlflow_after(bench: Bench, one: Unit) -> None:
    child = unit(next(NUMBERS), parents=(one.fingerprint,))
    desk = bench.desk(one)
    desk.open()
    draft = desk.draft()
    (draft / WEIGHTS).write_bytes(b"on the desk only")
    desk.seal(draft, {}, {})
    seen: list[bytes] = []

    def train(unit: Unit, desk: Desk, stores: Any, weights: Any, fetch: Callable[[str], Path], *rest: Any, **more: Any) -> Any:
        seen.extend(fetch(parent).read_bytes() for parent in unit.parents)
        return stand_in.train(unit, desk, stores, weights, fetch, *rest, **more)

    bench.train = train
    bench.do(bench.job(child))
    desk.spool(1, {"train_loss": 1.0})
    assert bench.do(bench.job(one)) == ["claimed", "trained", "done"]
    assert not desk.folder.exists()
    second = unit(next(NUMBERS), parents=(one.fingerprint,))
    assert bench.do(bench.job(second)) == ["claimed", "trained", "done"]
    assert seen == [b"on the desk only"] * 2


def test_a_parent_that_cannot_be_had_is_waited_for_while_the_server_is_away_and_fails_the_unit_when_it_answers(
    bench: Bench, one: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.0)
    child = unit(next(NUMBERS), parents=("f" * 64,))
    answers = iter([True, True, False])

    def is_there(*_: object) -> bool:
        if next(answers, False):
            raise MlflowException("away", TEMPORARILY_UNAVAILABLE)
        return True

    monkeypatch.setattr(module.runs, "is_there", is_there)
    job = bench.job(child).model_copy(update={"parents": {"f" * 64: "no-such-run"}})
    assert bench.do(job) == ["claimed", "tracking-away", "tracking-away", "failed"]
    assert "no readable artifact" in bench.said[-1]["reason"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("x"), "exception"),
        (MemoryError(), "out-of-memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out-of-memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out-of-memory"),
    ],
)
def test_memory_is_told_from_other_reasons(error: Exception, kind: str) -> None:
    assert describe(error) == (kind, f"{type(error).__name__}: {error}")


def test_told_to_stop_a_worker_gives_its_unit_back_keeps_its_last_epoch_and_leaves_no_failure(bench: Bench) -> None:
    one = unit(next(NUMBERS), epochs=50, fold="slow")
    command = [sys.executable, "-m", "tests.journeys.under_fire.stand_in"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(bench.job(one).model_dump_json() + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if json.loads(line)["event"] == "epoch":
            break
    process.send_signal(signal.SIGINT)  # Ctrl-C reaches all processes of a terminal: the runner decides, not the worker
    begun = time.monotonic()
    process.terminate()
    assert process.wait(10) == 0
    assert time.monotonic() - begun < 5
    standing = bench.claims.states([one.fingerprint])[one.fingerprint]
    assert (standing.state, standing.failures) == ("free", 0)
    assert [run.info.status for run in bench.ground.runs_of(one)] == ["KILLED"]
    kept = json.loads((bench.desk(one).checkpoints / "checkpoint.json").read_text())
    assert len(kept["losses"]) >= 1
