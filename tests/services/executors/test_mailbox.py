"""A worker behind a folder: found again, killed, abandoned, told to stop; and a folder that is read while it is written.

The workers here only speak (`mailbox_script`); real ones are in tests/contracts/test_every_executor.py.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.executors.crew import Crew, Hear, Worker
from services.executors.ending import cause_of
from services.executors.executor import Request, Stopped
from services.executors.mailbox import MailboxWorker
from tests.journeys.under_fire.ground import ROOT, sheet, unit
from tests.training.protocol.test_schedule import Claims
from training.protocol.job import Event, Job
from training.protocol.mailbox import Mailbox
from training.protocol.recipe import Running
from training.protocol.schedule import Schedule
from training.protocol.unit import Unit

SCRIPT = (sys.executable, "-m", "tests.services.executors.mailbox_script", "--mailbox")
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


class Near(MailboxWorker):
    """The smallest kind of worker with a mailbox: a process of this machine. One that was started before is known by `started`."""

    started: dict[str, "subprocess.Popen[bytes]"] = {}  # noqa: RUF012 - what a container engine would know

    def __init__(self, request: Request, hear: Hear, folder: Path) -> None:
        super().__init__(request, hear, folder)
        if folder.name not in self.started:
            self.mailbox.create()
            self.started[folder.name] = subprocess.Popen(
                [*request.command, str(folder)], cwd=ROOT, env=os.environ | request.environment
            )
        self.process = self.started[folder.name]
        self.listen()

    def _ended(self) -> int | None:
        code = self.process.poll()
        return None if code is None else code if code >= 0 else 128 - code

    def _cause(self, code: int) -> tuple[str, str]:
        return cause_of(code, "it")

    def kill(self) -> None:
        self.process.kill()

    def dismiss(self) -> None:
        self.process.wait()
        self.started.pop(self.mailbox.folder.name, None)
        super().dismiss()


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    yield
    for process in Near.started.values():
        process.kill()
        process.wait()
    Near.started.clear()


def a(fold: str, seed: int = 0) -> Unit:
    return unit(seed, fold=fold, films=sheet(16))


def job_of(one: Unit, home: Path, silence: float = 60) -> Job:
    running = Running(silence_minutes=silence / 60, free_gib=0)
    return Job(unit=one, stores={}, tracking_uri="", claims_uri="", home=home, weights=home, parent_run="", running=running)


class Crewed:
    """Units on near workers, and what was heard of them."""

    def __init__(self, home: Path, *units: Unit, slots: int = 1, silence: float = 60) -> None:
        self.events: list[tuple[Unit, Event]] = []
        self.stop, self.folder, self.claims = Flag(), home / "mailboxes", Claims()
        jobs = [job_of(one, home, silence) for one in units]
        self.schedule = Schedule(jobs, {}, self.claims, lambda one, event: self.events.append((one, event)))  # type: ignore[arg-type]
        self.requests = [Request(slot, SCRIPT, ENVIRONMENT) for slot in range(slots)]

    def hire(self, request: Request, hear: Hear) -> Worker:
        return Near(request, hear, self.folder / f"near-{request.slot}")

    def run(self) -> "Crewed":
        Crew(self.requests, self.hire, self.stop).run(self.schedule)
        return self

    def kinds(self, one: Unit) -> list[str]:
        return [event["event"] for unit, event in self.events if unit.fingerprint == one.fingerprint]


def earlier(home: Path, one: Unit, until_it_said: str) -> Near:
    """A worker that somebody else has started and given a unit, and who is gone now."""
    worker = Near(Request(0, SCRIPT, ENVIRONMENT), lambda *_: None, home / "mailboxes" / "near-0")
    worker.send(job_of(one, home))
    until(lambda: any(event["event"] == until_it_said for event in Mailbox(worker.mailbox.folder).hear()))
    return worker


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_jobs_go_in_and_events_come_out_of_a_folder(tmp_path: Path) -> None:
    units = [a("x", seed) for seed in range(5)]
    crewed = Crewed(tmp_path, *units, slots=2).run()
    assert len(crewed.schedule.done) == 5
    assert crewed.kinds(units[0]) == ["claimed", "epoch", "epoch", "trained", "done"]
    assert list(crewed.folder.iterdir()) == []


def test_a_process_that_dies_is_replaced_and_its_unit_has_failed(tmp_path: Path) -> None:
    doomed, other = a("kill"), a("x", 1)
    crewed = Crewed(tmp_path, doomed, other).run()
    assert crewed.claims.failures == [(doomed.fingerprint, 7, "killed")]
    assert list(crewed.schedule.done) == [other.fingerprint]


@pytest.mark.slow
def test_a_process_that_falls_silent_is_killed_and_its_unit_has_failed(tmp_path: Path) -> None:
    doomed = a("hang")
    crewed = Crewed(tmp_path, doomed, silence=1.5)
    Thread(target=lambda: (until(lambda: crewed.claims.failures), crewed.stop.set())).start()
    with pytest.raises(Stopped):
        crewed.run()
    assert crewed.claims.failures == [(doomed.fingerprint, 7, "hang")]


def test_a_worker_whose_listener_died_goes_on_and_the_next_listener_finds_what_it_has(tmp_path: Path) -> None:
    one, other = a("long"), a("x", 1)
    found = earlier(tmp_path, one, "epoch")
    crewed = Crewed(tmp_path, one, other).run()
    assert "claimed" not in crewed.kinds(one) and crewed.kinds(one)[-2:] == ["trained", "done"]
    assert len(crewed.schedule.done) == 2
    assert found.process.returncode == 0
    assert crewed.claims.failures == []


def test_a_worker_that_died_while_nobody_listened_has_failed_its_unit(tmp_path: Path) -> None:
    doomed = a("kill")
    earlier(tmp_path, doomed, "claimed").process.wait(60)
    crewed = Crewed(tmp_path, doomed).run()
    assert crewed.claims.failures == [(doomed.fingerprint, 7, "killed")]
    assert crewed.kinds(doomed) == ["failed", "failed"]  # and the next one finds it quarantined


def test_a_worker_at_work_on_what_nobody_asked_for_gives_it_back(tmp_path: Path) -> None:
    foreign, ours = a("endless"), a("x", 1)
    earlier(tmp_path, foreign, "claimed")
    crewed = Crewed(tmp_path, ours).run()
    assert list(crewed.schedule.done) == [ours.fingerprint]
    assert (tmp_path / "marks" / f"{foreign.fingerprint}-given-back").is_file()


def test_told_to_stop_the_crew_stops_within_its_time_and_units_are_given_back(tmp_path: Path) -> None:
    units = [a("endless", seed) for seed in range(2)]
    crewed = Crewed(tmp_path, *units, slots=2)
    Thread(target=lambda: (until(lambda: sum(e["event"] == "epoch" for _, e in crewed.events) > 2), crewed.stop.set())).start()
    with pytest.raises(Stopped, match="the same command goes on"):
        crewed.run()
    assert len(list((tmp_path / "marks").glob("*-given-back"))) == 2
    assert Near.started == {}


def test_a_worker_that_nobody_listens_to_finishes_its_unit_and_ends_by_itself(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "alone")
    box.create()
    box.post(1, job_of(a("x"), tmp_path))
    environment = os.environ | ENVIRONMENT | {"MDMT_ABANDONED_SECONDS": "0.5"}
    process = subprocess.Popen([*SCRIPT, str(box.folder)], cwd=ROOT, env=environment)
    assert process.wait(60) == 0
    assert [event["event"] for event in box.hear()] == ["idle", "claimed", "epoch", "epoch", "trained", "done", "idle"]


@pytest.mark.slow
def test_a_worker_that_is_listened_to_waits(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box")
    box.create()
    environment = os.environ | ENVIRONMENT | {"MDMT_ABANDONED_SECONDS": "2"}
    process = subprocess.Popen([*SCRIPT, str(box.folder)], cwd=ROOT, env=environment)
    until(lambda: list(box.hear()))
    for _ in range(30):
        box.beat()
        time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.wait()


@given(cuts=st.lists(st.integers(1, 200), max_size=6), events=st.integers(0, 8))
@settings(deadline=None, max_examples=60)
def test_an_outbox_read_while_it_is_written_gives_every_event_once_and_in_order(
    cuts: list[int], events: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = Mailbox(tmp_path_factory.mktemp("box") / "whole")
    whole.create()
    for number in range(events):
        whole.say("epoch", unit="u", epoch=number)
    outbox = whole.folder / "outbox.jsonl"
    content = outbox.read_bytes() if events else b""
    outbox.write_bytes(b"")
    heard: list[int] = []
    at = 0
    for cut in [*cuts, len(content)]:
        with outbox.open("ab") as file:
            file.write(content[at : at + cut])
        at += cut
        heard += [event["epoch"] for event in whole.hear()]
    assert heard == list(range(events))


def test_a_line_that_a_full_disk_has_cut_is_said_again_and_heard_once(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box")
    box.create()
    box.say("idle", served=0)
    with (box.folder / "outbox.jsonl").open("ab") as file:
        file.write(b'\n{"event": "epo')
    box.say("epoch", unit="u", epoch=1)
    assert [event["event"] for event in box.hear()] == ["idle", "epoch"]


def test_two_threads_that_speak_at_once_do_not_mix_their_lines(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box")
    box.create()
    threads = [Thread(target=lambda n=n: [box.say("epoch", unit=str(n), epoch=i) for i in range(200)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heard = list(box.hear())
    assert all([e["epoch"] for e in heard if e["unit"] == str(n)] == list(range(200)) for n in range(4))
