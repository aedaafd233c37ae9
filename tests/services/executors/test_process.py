"""The executor alone: what it makes of worker processes that speak, fall silent, crash, babble or never begin.

The workers here are a script of a few lines that speaks a worker's language and starts in milliseconds; real ones, really trained,
killed and frozen, are in tests/journeys/under_fire.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from services.executors.executor import NoSuchDevice, WorkersFail
from services.executors.process import ProcessExecutor
from tests.journeys.under_fire.ground import sheet, unit
from tests.training.protocol.test_schedule import Claims
from training.protocol.job import Event, Job
from training.protocol.recipe import Running
from training.protocol.schedule import Schedule
from training.protocol.unit import Unit

# Does what the fold of a unit says, after "claimed"; who comes again after that finds the unit quarantined, as claims would have it.
SCRIPT = """
import ctypes, json, os, signal, sys, time
def say(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\\n")
    sys.stdout.flush()
say("idle")
for line in sys.stdin:
    job = json.loads(line)
    fold, unit = job["unit"]["fold"], job["title"]
    if fold == "unread": sys.exit(1)
    mark = os.path.join(os.path.dirname(__file__), unit)
    if os.path.exists(mark) and fold in ("crash", "kill", "exit", "hang", "torn"):
        say("failed", unit=unit, kind="quarantined", reason="spent", quarantined=True)
        say("idle")
        continue
    open(mark, "w").close()
    say("claimed", unit=unit, fence=1)
    if fold == "crash": ctypes.string_at(0)
    if fold == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if fold == "exit": sys.exit(3)
    if fold == "hang": time.sleep(100)
    if fold == "torn":
        sys.stdout.write('{"event": "epo'); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)
    if fold == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if fold == "stale":
        say("lost", unit=unit, reason="delivery")
        say("lost", unit=unit, reason="training")
    if fold == "environment":
        say("epoch", unit=unit, epoch=1, figures={}, environment=dict(os.environ))
    if fold == "mute":
        for i in range(40):
            say("epoch", unit="another", epoch=i, figures={}); time.sleep(0.05)
    if fold != "stale":
        say("trained", unit=unit)
        say("done", unit=unit, run="run of " + fold)
    say("idle")
"""


class Named(Job):
    """A job whose line holds its fingerprint, for a script that cannot compute it."""

    title: str = ""


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Workers run the script, whatever they are told to run."""
    command = tmp_path / "worker"
    (tmp_path / "script.py").write_text(SCRIPT)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S {tmp_path / "script.py"}\n')
    command.chmod(0o755)
    monkeypatch.setattr("services.executors.process.sys.executable", str(command))


class Heard:
    """A run of some units, and what was heard of them."""

    def __init__(self, units: Sequence[Unit], workers: int = 1, silence: float = 60) -> None:
        self.events: list[tuple[str, Event]] = []
        self.claims = Claims()
        jobs = [
            Named(
                unit=one, stores={}, tracking_uri="", claims_uri="", home=Path("/"), weights=Path("/"), parent_run="",
                running=Running(silence_minutes=silence / 60, free_gib=0), title=one.fingerprint,
            )
            for one in units
        ]  # fmt: skip
        self.schedule = Schedule(jobs, {}, self.claims, self.listen)  # type: ignore[arg-type]
        self.started = time.monotonic()
        self.executor = ProcessExecutor(workers)

    def listen(self, one: Unit, event: Event) -> None:
        self.events.append((one.fold, event))

    def run(self) -> "Heard":
        self.executor.run(self.schedule)
        self.seconds = time.monotonic() - self.started
        return self

    def kinds(self, fold: str) -> list[str]:
        return [event["event"] for name, event in self.events if name == fold]


def units(*folds: str) -> list[Unit]:
    return [unit(seed, fold=fold, films=sheet(16)) for seed, fold in enumerate(folds)]


def children(of: int | str = "self") -> list[int]:
    """Processes that a process, this one unless given, has started."""
    found: list[int] = []
    for task in Path(f"/proc/{of}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends while it is looked at has none
            found += map(int, (task / "children").read_text().split())
    return found


def test_no_jobs_need_no_worker() -> None:
    before = children()
    ProcessExecutor(2).run(Schedule([], {}, Claims(), lambda *_: None))  # type: ignore[arg-type]
    assert children() == before


def test_every_unit_is_done_by_as_many_processes_as_were_asked_for_and_none_is_left() -> None:
    before = children()
    heard = Heard(units("a", "b", "c", "d", "e"), workers=2).run()
    assert sorted(heard.schedule.done.values()) == [f"run of {x}" for x in "abcde"]
    assert heard.kinds("a") == ["claimed", "trained", "done"]
    assert children() == before


@pytest.mark.parametrize(
    ("fold", "kind", "reason"),
    [
        ("crash", "segfault", "the worker process crashed with SIGSEGV"),
        ("kill", "killed", "the worker process was killed (SIGKILL): out of memory, or by hand"),
        ("exit", "exception", "the worker process ended with code 3"),
        ("torn", "killed", "the worker process was killed (SIGKILL): out of memory, or by hand"),
        ("hang", "hang", "said nothing for 1 seconds"),
    ],
)
def test_a_process_that_ends_or_hangs_is_replaced_and_its_unit_has_failed_with_the_right_kind(
    fold: str, kind: str, reason: str
) -> None:
    heard = Heard(units("a", fold, "b", "c"), silence=1).run()
    assert heard.claims.failures == [(units("a", fold)[1].fingerprint, 1, kind)]
    failed = next(event for name, event in heard.events if name == fold and event["event"] == "failed")
    assert (failed["kind"], failed["reason"]) == (kind, reason)
    assert len(heard.schedule.done) == 3


def test_a_silent_process_is_found_while_others_talk_all_the_time() -> None:
    heard = Heard(units("mute", "hang"), workers=2, silence=0.8).run()
    hang = next(event for name, event in heard.events if name == "hang" and event["event"] == "failed")
    assert hang["kind"] == "hang"
    assert [name for name, event in heard.events if event["event"] in ("failed", "done")] == ["hang", "hang", "mute"]


def test_what_is_said_twice_of_a_lost_unit_is_heard_once_and_another_runner_may_finish_it() -> None:
    heard = Heard(units("stale", "a"))
    (stale, _) = units("stale", "a")
    heard.claims.stand(stale.fingerprint, "busy")

    def listen(one: Unit, event: Event) -> None:
        heard.events.append((one.fold, event))
        if one.fold == "stale" and heard.kinds("stale").count("lost") == 2:
            heard.schedule.done[stale.fingerprint] = "run of another"
            heard.schedule._elsewhere.clear()
        elif event["event"] == "done":
            heard.claims.stand(stale.fingerprint, "free")

    heard.schedule._on_event = listen
    heard.run()
    assert heard.kinds("stale") == ["claimed", "lost", "claimed", "lost"]
    assert heard.seconds < 15


def test_workers_that_end_before_they_are_ready_are_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.executors.process.sys.executable", "/bin/false")
    before = children()
    with pytest.raises(WorkersFail, match="3 workers ended before they had begun a unit, the last with code 1"):
        Heard(units("a")).run()
    assert children() == before


def test_workers_that_cannot_read_their_job_are_not_started_for_ever() -> None:
    """As those of another version, to which a setting of the unit is unknown."""
    with pytest.raises(WorkersFail, match="3 workers ended before they had begun a unit, the last with code 1"):
        Heard(units("unread")).run()


def test_a_unit_between_them_shows_that_workers_can_begin_one() -> None:
    heard = Heard(units("crash", "kill", "exit", "torn", "a")).run()
    assert heard.kinds("a")[-1] == "done"


def test_a_process_that_ignores_being_told_to_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.executors.crew.STOP_SECONDS", 0.5)
    before = children()
    heard = Heard(units("deaf")).run()
    assert heard.kinds("deaf")[-1] == "done"
    assert children() == before


def test_a_frozen_process_that_does_not_take_its_job_does_not_hold_up_the_others() -> None:
    large = unit(1, fold="a", films=sheet(5000))  # larger than a pipe
    heard = Heard([large, *units("b")], silence=1.5)
    frozen: list[int] = []
    take = heard.schedule.take

    def freeze_then_take(after: str | None = None) -> Job | None:
        job = take(after)
        if job is not None and not frozen:
            frozen.extend(pid for pid in children() if b"script.py" in Path(f"/proc/{pid}/cmdline").read_bytes())
            os.kill(frozen[0], signal.SIGSTOP)
        return job

    heard.schedule.take = freeze_then_take  # type: ignore[method-assign]
    heard.run()
    assert sorted(heard.schedule.done.values()) == ["run of a", "run of b"]
    assert heard.claims.failures == []  # it never claimed it, so the unit is not to blame


def test_a_worker_has_one_thread_reproducible_products_little_patience_with_mlflow_and_the_house_on_its_path() -> None:
    heard = Heard(units("environment")).run()
    seen = next(event["environment"] for _, event in heard.events if event["event"] == "epoch")
    assert seen["OMP_NUM_THREADS"] == "1"
    assert seen["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert seen["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert (Path(seen["PYTHONPATH"]) / "training").is_dir()


def test_gpus_are_dealt_to_the_processes_in_turn_and_missing_ones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wants = [one.model_copy(update={"device": "cuda", "fold": "environment"}) for one in units("a", "b")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    heard = Heard(wants, workers=2).run()
    seen = {event["environment"]["CUDA_VISIBLE_DEVICES"] for _, event in heard.events if event["event"] == "epoch"}
    assert seen <= {"0", "3"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        with pytest.raises(NoSuchDevice, match="no NVIDIA GPU"):
            Heard(wants).run()


def test_a_job_is_a_line_of_data() -> None:
    (one,) = units("a")
    job = Heard([one]).schedule.jobs[one.fingerprint]
    line = job.model_dump_json()
    assert "\n" not in line
    assert Job.model_validate({k: v for k, v in json.loads(line).items() if k != "title"}).unit.fingerprint == one.fingerprint
