"""The cluster executor on real Rays: one of this machine, and a head with nodes that is reached by its address.

Whatever holds for all executors is in tests/contracts; here is what only a cluster has.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Flag
from threading import Timer

import pytest

from services.executors.cluster import ClusterExecutor
from services.executors.cluster_connection import LOCAL_SETTINGS, SETTINGS
from services.executors.executor import NoSuchDevice, StageFailed, Stopped
from services.executors.process import ProcessExecutor
from tests.contracts.cluster_place import STAND_IN, below
from tests.journeys.under_fire.ground import ROOT, Ground, Tally, events, family, film_store, unit
from tests.postgres import free_port
from training.protocol.claims import ClaimTable
from training.protocol.job import Job
from training.protocol.schedule import Schedule
from training.tracking import Tracking, default_uri

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a Ray takes five seconds to start on an idle machine
RAY = Path(sys.executable).parent / "ray"
TERM = signal.getsignal(signal.SIGTERM)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_store(tmp_path_factory.mktemp("films") / "noise")


@pytest.fixture
def ground(new_home: Callable[[], Path], films: Path) -> Ground:
    home = new_home()
    return Ground(home, Tracking(default_uri(home), home), films)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterExecutor]:
    """On a Ray of this machine."""
    executor = ClusterExecutor(2, tmp_path_factory.mktemp("state"))
    yield executor
    executor.close()


def test_a_ray_of_this_machine_needs_a_token_and_leaves_signals_alone(here: ClusterExecutor) -> None:
    here.stage(["--help"])
    assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert signal.getsignal(signal.SIGTERM) is TERM


def test_gpus_that_the_cluster_does_not_have_are_refused_with_what_it_has(here: ClusterExecutor, ground: Ground) -> None:
    (job,) = ground.jobs([unit(1).model_copy(update={"device": "cuda"})])
    with pytest.raises(NoSuchDevice, match=r"the Ray cluster \(1 node\(s\), 2 CPUs\) has no NVIDIA GPU; set device to 'cpu'"):
        here.plan([job])


def test_a_stage_that_fails_ends_with_what_it_said(here: ClusterExecutor) -> None:
    with pytest.raises(StageFailed, match=r"(?s)`mdmt prepare --recipe nowhere` ended with code 1:\n.*'nowhere'"):
        here.stage(["prepare", "--recipe", "nowhere"])


def test_a_stage_that_is_told_to_stop_ends_with_its_process(here: ClusterExecutor, ground: Ground) -> None:
    stop = Flag()
    executor = ClusterExecutor(2, ground.home, stop=stop)
    Timer(8, stop.set).start()
    with pytest.raises(Stopped, match="told to stop during `mdmt ui --port"):
        executor.stage(["ui", "--port", str(free_port())])
    assert not [pid for pid in below(os.getpid()) if b"services.executors.stage" in _line(pid)]


def _line(pid: int) -> bytes:
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_bytes() if path.exists() else b""


def test_units_that_are_really_trained_give_the_same_bits_as_on_processes(
    here: ClusterExecutor, new_home: Callable[[], Path], films: Path
) -> None:
    units, results = family(4, epochs=2), []  # the last starts from the weights of two others
    for kind in ("process", "cluster"):
        home = new_home()
        ground = Ground(home, Tracking(default_uri(home), home), films)
        jobs = ground.jobs(units)
        schedule = Schedule(jobs, {}, ClaimTable(jobs[0].claims_uri), lambda *_: None)
        (ProcessExecutor(2) if kind == "process" else ClusterExecutor(2, home)).run(schedule)
        assert len(schedule.done) == 4, schedule.failed
        results.append(ground.results(units))
    assert results[0] == results[1]


class Head:
    """A cluster of nodes on this machine, each a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.port, self.client = free_port(), free_port()
        self.folder, self.address = folder, f"127.0.0.1:{self.port}"
        self.environment = os.environ | {
            **SETTINGS, **LOCAL_SETTINGS, "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.nodes: list[subprocess.Popen[bytes]] = []
        ports = f"--port={self.port} --ray-client-server-port={self.client} --include-dashboard=false"
        self.add(f"--head {ports} --temp-dir={folder}", cpus=2)

    def add(self, where: str = "", cpus: int = 2, before: str = "") -> "subprocess.Popen[bytes]":
        """One more node, once it has joined. `before`: a shell command in a mount namespace of the node's own."""
        where = where or f"--address={self.address}"
        start = f"exec {RAY} start {where} --num-cpus={cpus} --node-ip-address=127.0.0.1 --object-store-memory=80000000 --block"
        command = ["unshare", "-m", "sh", "-c", f"{before} && {start}"] if before else ["sh", "-c", start]
        with (self.folder / f"node-{len(self.nodes)}.log").open("wb") as log:
            node = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment, cwd=ROOT, start_new_session=True)
        self.nodes.append(node)
        give_up = time.monotonic() + 180
        while b"--block" not in (self.folder / f"node-{len(self.nodes) - 1}.log").read_bytes():
            assert node.poll() is None and time.monotonic() < give_up, self.said()
            time.sleep(0.2)
        return node

    def lose(self, node: "subprocess.Popen[bytes]") -> None:
        """All its processes at once, as when a machine goes dark."""
        if node.poll() is None:
            for pid in (*below(node.pid), node.pid):
                os.kill(pid, signal.SIGKILL)
            node.wait()
            self.nodes.remove(node)

    def said(self) -> str:
        return "\n".join(log.read_text()[-2000:] for log in sorted(self.folder.glob("node-*.log")))

    def close(self) -> None:
        for node in reversed(list(self.nodes)):
            self.lose(node)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # sockets' paths have 107 letters at most
    cluster = Head(folder)
    yield cluster
    cluster.close()
    shutil.rmtree(folder, ignore_errors=True)


class Run:
    """A runner on that cluster, in a process of its own: Ray keeps one token and one cluster for a process."""

    def __init__(self, head: Head, jobs: list[Job], folder: Path, address: str = "", **environment: str) -> None:
        self.journal, self.log = folder / "journal.jsonl", folder / "log"
        (folder / "jobs.json").write_text(json.dumps([job.model_dump(mode="json") for job in jobs]))
        command = [sys.executable, "-m", "tests.contracts.executor_runner", str(folder), "2", "cluster", address or head.address]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=head.environment | environment)

    def until(self, kind: str, seconds: float = 180) -> None:
        give_up = time.monotonic() + seconds
        while not Tally([self.journal]).count(kind):
            assert self.process.poll() is None and time.monotonic() < give_up, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def end(self, seconds: float = 400) -> tuple[int, str]:
        """Exit code, and what it said."""
        try:
            code = self.process.wait(seconds)
        finally:
            self.process.kill()
        return code, self.log.read_text()

    def done(self) -> int:
        code, said = self.end()
        assert code == 0, said[-3000:]
        return len(events(self.journal)[-1]["done"])


@pytest.mark.parametrize("client", [False, True], ids=["on one of its machines", "from elsewhere"])
def test_a_cluster_that_runs_already_is_used_by_its_address(client: bool, head: Head, ground: Ground, tmp_path: Path) -> None:
    units = family(4)
    address = f"ray://127.0.0.1:{head.client}" if client else head.address
    assert Run(head, ground.jobs(units), tmp_path, address).done() == 4
    ground.results(units)
    assert not list((ground.home / "mailboxes").iterdir())


def test_nobody_gets_in_with_another_token(head: Head, ground: Ground, tmp_path: Path) -> None:
    run = Run(head, ground.jobs([unit(1)]), tmp_path, f"ray://127.0.0.1:{head.client}", RAY_AUTH_TOKEN=secrets.token_hex(32))
    code, said = run.end()
    assert code != 0
    assert "WorkersFail: no Ray at ray://127.0.0.1" in said


def test_a_node_that_is_lost_costs_no_more_than_an_epoch(head: Head, ground: Ground, tmp_path: Path) -> None:
    units = [unit(1, epochs=15, fold="slow"), unit(2, epochs=15, fold="slow"), unit(3, epochs=15, fold="slow")]
    node = head.add()
    run = Run(head, ground.jobs(units, lease_seconds=5), tmp_path)
    run.until("epoch")
    while not any(STAND_IN[-1].encode() in _line(pid) for pid in below(node.pid)):
        assert run.process.poll() is None, run.end()
        time.sleep(0.1)
    head.lose(node)
    assert run.done() == 3
    ground.results(units)
    ground.metrics_are_complete(units)


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace of its own is root's")
def test_a_node_that_does_not_share_the_state_is_named_before_anything_is_trained(
    head: Head, ground: Ground, tmp_path: Path
) -> None:
    node = head.add(before=f"mount -t tmpfs none {ground.home}")
    code, said = Run(head, ground.jobs([unit(1)]), tmp_path).end()
    head.lose(node)
    assert code != 0
    assert f"does not share the state folder {ground.home}: [Errno 2]" in said
    assert not Tally([tmp_path / "journal.jsonl"]).count("claimed")
