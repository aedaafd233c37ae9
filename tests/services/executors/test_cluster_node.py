"""What a Ray task does on its node, what a worker is given, and what the loss of a task means: all of it without a cluster."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from services.executors.cluster_connection import connect
from services.executors.cluster_node import ROOT, look, run_child, versions
from services.executors.cluster_nodes import must_fit, resources
from services.executors.cluster_worker import cause_of_loss
from services.executors.executor import NoSuchDevice, WorkersFail
from tests.journeys.under_fire.ground import unit
from training.protocol.job import Job
from training.protocol.recipe import Running


def job(device: str = "cpu", threads: int = 1, gpus: int = 1, shared: int = 1) -> Job:
    return Job(
        unit=unit(1).model_copy(update={"device": device, "threads": threads, "gpus_per_unit": gpus}), stores={}, tracking_uri="",
        claims_uri="", home=Path("/"), weights=Path("/"), parent_run="", running=Running(units_per_gpu=shared),
    )  # fmt: skip


def test_a_child_gives_its_code_and_the_end_of_what_it_said_and_only_that(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    assert run_child(("-c", "print('first')"), {}, log) == (0, "first")
    code = "import os, sys; print(os.environ['WORD']); print('second', file=sys.stderr); sys.exit(3)"
    assert run_child(("-uc", code), {"WORD": "given"}, log) == (3, "given\nsecond")
    assert log.read_text() == "first\ngiven\nsecond\n"


@pytest.mark.parametrize(("death", "code"), [(signal.SIGKILL, 137), (signal.SIGSEGV, 139), (signal.SIGTERM, 143)])
def test_a_child_that_dies_of_a_signal_ends_as_a_shell_would_say(death: signal.Signals, code: int, tmp_path: Path) -> None:
    ended = run_child(("-c", f"import os; os.kill(os.getpid(), {death.value})"), {}, tmp_path / "log")
    assert ended == (code, "it said nothing")


# A task, in a process of its own: the interrupt is for all of a process.
TASK = """
import signal, sys
from pathlib import Path
from services.executors.cluster_node import run_child

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs tests in parallel ignores it, and all below with him
try:
    run_child(("-c", sys.argv[1]), {}, Path(sys.argv[2]))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_cancelled_task_lets_its_child_end_well(tmp_path: Path) -> None:
    ready, left = tmp_path / "ready", tmp_path / "left"
    code = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(left)!r}).touch(), sys.exit(0)))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)"
    )
    task = subprocess.Popen(
        [sys.executable, "-c", TASK, code, str(tmp_path / "log")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    with task:
        until = time.monotonic() + 60
        while not ready.exists() and task.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)  # past the start of the child, which it waits for
        task.send_signal(signal.SIGINT)  # which is what Ray does to the task's thread
        said, _ = task.communicate(timeout=30)
    assert (said, task.returncode) == (b"interrupted\n", 0)
    assert left.exists()


def test_a_node_tells_what_it_reads_writes_and_would_compute(tmp_path: Path) -> None:
    one = unit(1)
    (tmp_path / "note").write_text("word")
    seen = look(tmp_path / "note", tmp_path / "answer", one.model_dump_json())
    assert (seen.note, seen.fingerprint, seen.versions) == ("word", one.fingerprint, versions())
    assert (tmp_path / "answer").read_text() == "word"
    blind = look(tmp_path / "elsewhere" / "note", tmp_path / "answer", one.model_dump_json())
    assert "No such file" in blind.note


@pytest.mark.parametrize(
    ("jobs", "cpus", "gpus"),
    [
        ([job()], 1, 0),
        ([job(threads=2), job(threads=4)], 4, 0),
        ([job(threads=2, gpus=3)], 6, 0),  # processes of one unit, on CPUs
        ([job("cuda", threads=2)], 2, 1),
        ([job("cuda", gpus=4)], 1, 4),
        ([job("cuda", shared=4), job("cuda", shared=2)], 1, 0.5),
    ],
)
def test_a_worker_gets_what_the_largest_of_the_units_needs(jobs: list[Job], cpus: int, gpus: float) -> None:
    assert resources(jobs) == {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}


@given(st.integers(1, 50))
def test_as_many_units_share_a_gpu_as_the_recipe_says_and_no_more(shared: int) -> None:
    ten_thousandths = round(10_000 * resources([job("cuda", shared=shared)])["num_gpus"])
    assert shared * ten_thousandths <= 10_000 < (shared + 1) * ten_thousandths


NODES = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 16.0}]


def test_what_no_node_has_is_refused_with_what_there_is() -> None:
    must_fit(resources([job("cuda", threads=8, gpus=2)]), NODES)
    with pytest.raises(
        NoSuchDevice, match=r"'cuda' and the Ray cluster \(1 node\(s\), 16 CPUs\) has no NVIDIA GPU; set device to 'cpu'"
    ):
        must_fit(resources([job("cuda")]), NODES[1:])
    with pytest.raises(
        NoSuchDevice, match=r"\(2 node\(s\), 24 CPUs\) has at most 2 GPU\(s\) on a node, of the 4 that a unit wants"
    ):
        must_fit(resources([job("cuda", gpus=4)]), NODES)
    with pytest.raises(WorkersFail, match=r"asks for 32 CPUs for each unit .* has at most 16 on a node; set threads to fewer"):
        must_fit(resources([job(threads=32)]), NODES)


def test_the_loss_of_a_task_has_the_kind_that_the_budget_of_attempts_asks_for() -> None:
    said = ray.exceptions
    lost = {
        said.WorkerCrashedError(): ("killed", "the Ray task above it was killed"),
        said.NodeDiedError("node 7 is gone"): ("killed", "its node died"),
        said.OutOfMemoryError("much"): ("out-of-memory", "Ray ended it because its node ran out of memory"),
        said.TaskCancelledError(): ("killed", "it was cancelled"),
        said.RayTaskError("run_child", "traceback", FileNotFoundError("no /state/logs")): (
            "exception",
            "it could not be started: no /state/logs",
        ),
        ConnectionError("gone.\nmuch more"): ("killed", "the cluster does not know what became of it: gone"),
    }
    for error, cause in lost.items():
        assert cause_of_loss(ray, error) == cause


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_an_address_where_nobody_answers_is_an_error_at_once(address: str) -> None:
    begun = time.monotonic()
    with pytest.raises(WorkersFail, match=r"no Ray at .*: .*refused\. RAY_ADDRESS names a cluster that runs \(auto or host:port"):
        connect(address, 1)
    assert time.monotonic() - begun < 6
