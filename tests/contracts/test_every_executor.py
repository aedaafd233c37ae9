"""What every executor keeps: parents first, each unit once, whatever becomes of workers and runner; and it starts what it planned.

The runner is a process of its own, workers are real ones with a training that takes no torch, store and claims are real.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest

from services.executors.choice import KINDS
from services.executors.cluster_connection import disconnect
from services.executors.executor import NoSuchDevice, Request
from tests.contracts.executor_places import Containers, Processes, Started, contract_image, no_engine
from tests.contracts.places import Place, place_of
from tests.journeys.under_fire.ground import ROOT, Ground, Tally, events, family, film_store, unit
from training.protocol.claims import ClaimTable
from training.protocol.job import Job
from training.protocol.unit import Unit
from training.tracking import Tracking, default_uri

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # a worker of any kind starts in seconds


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with contract_image(tmp_path_factory.mktemp("image")) as name:
        yield name


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    image = ""
    if request.param == "container":
        if why := no_engine():
            pytest.skip(why)
        image = request.getfixturevalue("image")
    here = place_of(request.param, tmp_path, image=image)
    assert here.name == request.param  # the runner makes it anew by this name
    yield here
    here.tidy()
    if "ray" in sys.modules:  # else this would import it, without the settings that `connect` makes first
        disconnect()


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_store(tmp_path_factory.mktemp("films") / "noise")


@pytest.fixture
def ground(new_home: Callable[[], Path], films: Path) -> Ground:
    home = new_home()
    return Ground(home, Tracking(default_uri(home), home), films)


class Run:
    """A runner over jobs, with its journal."""

    def __init__(self, place: Place, jobs: Sequence[Job], folder: Path, slots: int = 2) -> None:
        self.place, self.jobs, self.folder, self.slots = place, jobs, folder, slots
        self.journal = folder / "journal.jsonl"
        (folder / "jobs.json").write_text(json.dumps([job.model_dump(mode="json") for job in jobs]))
        self.start()

    def start(self) -> None:
        more = [self.place.stack, self.place.image] if isinstance(self.place, Containers) else []
        command = [
            sys.executable,
            "-m",
            "tests.contracts.executor_runner",
            str(self.folder),
            str(self.slots),
            self.place.name,
            *more,
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)

    def wait(self, seconds: float = 1200) -> dict[str, Any]:
        """What became of the whole, once it has ended well."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
            self.kill()
        assert code == 0, f"{code}: {(self.folder / 'log').read_text()[-3000:]}\n{self.journal.read_text()[-2000:]}"
        return events(self.journal)[-1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def until(self, kind: str, count: int = 1, seconds: float = 600) -> None:
        give_up = time.monotonic() + seconds
        while Tally([self.journal]).count(kind).total() < count:
            assert self.process.poll() is None and time.monotonic() < give_up, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def workers(self, at_least: int = 1) -> list[Started]:
        give_up = time.monotonic() + 300
        while len(found := self.place.workers(self.process.pid)) < at_least:
            assert time.monotonic() < give_up
            time.sleep(0.1)
        return found

    @property
    def tally(self) -> Tally:
        return Tally([self.journal])


def free_and_blameless(jobs: Sequence[Job], units: Sequence[Unit]) -> None:
    standing = ClaimTable(jobs[0].claims_uri).states([one.fingerprint for one in units])
    assert {s.state for s in standing.values()} <= {"free", "committed"}, standing
    assert all(s.failures == 0 for s in standing.values()), standing


def test_every_unit_is_done_once_parents_first_and_nothing_is_left(place: Place, ground: Ground, tmp_path: Path) -> None:
    units = family(8)
    run = Run(place, ground.jobs(units), tmp_path)
    over = run.wait()
    assert len(over["done"]) == 8 and not over["failed"] and not over["stopped"]
    ground.results(units)
    ground.metrics_are_complete(units)
    assert set(run.tally.count("claimed").values()) == {1}
    at = {(event["event"], event["unit"]): event["at"] for event in run.tally.all if "at" in event}
    for one in units:
        for parent in one.parents:
            assert at["trained", parent] <= at["claimed", one.fingerprint]
    assert not (ground.home / "mailboxes").exists() or not list((ground.home / "mailboxes").iterdir())
    assert not isinstance(place, Containers) or place.containers() == []


def test_what_fails_is_tried_again_and_then_quarantined_with_its_kind(place: Place, ground: Ground, tmp_path: Path) -> None:
    poison = {kind: unit(100 + i, fold=kind) for i, kind in enumerate(("raise", "kill", "segfault", "hang"))}
    kinds = {"raise": "exception", "kill": "killed", "segfault": "segfault", "hang": "hang"}
    good = [unit(1), unit(2, fold="flaky")]
    child = unit(60, parents=(poison["raise"].fingerprint,))
    jobs = ground.jobs([*poison.values(), *good, child], attempts=2, silence_minutes=20 / 60)
    over = Run(place, jobs, tmp_path).wait()
    assert over["skipped"] == [child.fingerprint]
    assert len(over["done"]) == 2
    for kind, one in poison.items():
        assert over["failed"][one.fingerprint].startswith(f"{kinds[kind]}, failure 2 of 2 allowed: "), over["failed"]
    ground.results(good)


def test_a_worker_that_is_killed_costs_no_more_than_an_epoch(place: Place, ground: Ground, tmp_path: Path) -> None:
    units = [unit(1, epochs=6, fold="slow"), unit(2, epochs=6, fold="slow"), unit(3)]
    run = Run(place, ground.jobs(units), tmp_path)
    run.until("epoch", 3)
    place.kill(run.workers(2)[0])
    over = run.wait()
    assert len(over["done"]) == 3
    ground.results(units)
    ground.metrics_are_complete(units)
    (failed,) = [event for event in run.tally.all if event["event"] == "failed"]
    assert failed["kind"] == "killed"
    repeated = run.tally.epochs() - Counter({one.fingerprint: one.training.max_epochs for one in units})
    assert repeated.total() <= 1


def test_told_to_stop_it_gives_units_back_within_eight_seconds_and_the_next_run_goes_on(
    place: Place, ground: Ground, tmp_path: Path
) -> None:
    units = [unit(1, epochs=12, fold="slow"), unit(2, epochs=12, fold="slow")]
    jobs = ground.jobs(units)
    run = Run(place, jobs, tmp_path)
    run.until("epoch", 4)
    begun = time.time()
    run.process.send_signal(signal.SIGTERM)
    over = run.wait()
    assert over["stopped"] and over["at"] - begun < 10, over["at"] - begun
    free_and_blameless(jobs, units)
    assert place.workers(os.getpid()) == []
    run.start()
    assert len(run.wait()["done"]) == 2
    ground.results(units)
    repeated = run.tally.epochs() - Counter({one.fingerprint: one.training.max_epochs for one in units})
    assert repeated.total() <= 2


def test_after_the_runner_is_killed_the_next_one_goes_on(place: Place, ground: Ground, tmp_path: Path) -> None:
    units = [unit(1, epochs=10, fold="slow"), unit(2, epochs=10, fold="slow"), *family(4)]
    jobs = ground.jobs(units)
    run = Run(place, jobs, tmp_path)
    run.until("epoch", 4)
    before = {worker.name for worker in run.workers(2)}
    run.kill()
    run.start()
    if place.adopts:
        run.until("done")
        assert {worker.name for worker in run.workers(2)} == before
    assert len(run.wait()["done"]) == len(units)
    ground.results(units)
    ground.metrics_are_complete(units)
    assert not run.tally.count("failed")
    standing = ClaimTable(jobs[0].claims_uri).states([one.fingerprint for one in units])
    if place.adopts:
        assert {s.fence for s in standing.values()} == {1}  # nothing was begun twice


def test_what_runs_is_what_was_planned(place: Place, ground: Ground, tmp_path: Path) -> None:
    jobs = ground.jobs([unit(1, epochs=30, fold="slow"), unit(2, epochs=30, fold="slow"), unit(3)])
    planned = place.executor(ground, 2, Flag()).plan(jobs)
    assert place.executor(ground, 2, Flag()).plan(jobs) == planned
    assert place.workers(os.getpid()) == []  # a plan starts nothing
    place.tidy() if isinstance(place, Processes) else None
    run = Run(place, jobs, tmp_path)
    run.until("claimed", 2)
    found = run.workers(2)
    assert len(found) == len(planned) == 2
    assert {worker.command for worker in found} == {request.command for request in planned}
    for request in planned:
        worker = next(w for w in found if w.command == request.command)
        assert worker.environment | request.environment == dict(worker.environment)
        if isinstance(place, Containers):
            as_planned(place, worker, request)
    run.process.send_signal(signal.SIGTERM)
    run.wait()


def as_planned(place: Containers, worker: Started, request: Request) -> None:
    """Every option of the request, as the engine has it."""
    about, options = place.engine.containers.get(worker.name).attrs, request.options
    host, made = about["HostConfig"], about["Config"]
    assert about["Name"] == f"/{options['name']}"
    assert about["Image"] == options["image"]
    assert made["Labels"].items() >= options["labels"].items()
    assert (made["User"], host["NetworkMode"]) == (options["user"], options["network"])
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]) == (True, ["ALL"], ["no-new-privileges"])
    assert (host["Memory"], host["MemorySwap"], host["ShmSize"]) == (1 << 30, 1 << 30, 64 << 20)
    assert (host["NanoCpus"], host["PidsLimit"], host["Init"]) == (options["nano_cpus"], options["pids_limit"], True)
    assert not host["Privileged"] and not host["DeviceRequests"]
    mounts = {(m["Target"], m["Source"], m.get("ReadOnly", False)) for m in host["Mounts"]}
    assert mounts == {(m["Target"], m["Source"], m["ReadOnly"]) for m in options["mounts"]}
    status = dict(line.split(":\t", 1) for line in _inside(place, worker, "cat", "/proc/1/status").splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"


def _inside(place: Containers, worker: Started, *command: str) -> str:
    code, said = place.engine.containers.get(worker.name).exec_run(list(command))
    assert code == 0, said
    return str(said.decode())


def test_a_gpu_that_is_not_there_is_said_before_anything_is_started(
    place: Place, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (job,) = ground.jobs([unit(1).model_copy(update={"device": "cuda"})])
    with pytest.raises(NoSuchDevice, match=r"device 'cuda' .* has no NVIDIA GPU; set device to 'cpu' in the recipe"):
        place.executor(ground, 2, Flag()).plan([job])
    assert place.workers(os.getpid()) == []
