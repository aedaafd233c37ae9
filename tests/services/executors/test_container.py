"""Containers: what is asked of the engine, and what their ends mean. What all executors keep is in tests/contracts."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any

import pytest

import docker
from cxr.signature import new_key
from services.executors.container import ContainerExecutor
from services.executors.container_engine import End, Engine
from services.executors.container_settings import ContainerSettings
from services.executors.container_worker import asked
from services.executors.crew import OF_UNITS
from services.executors.executor import NoSuchDevice, Request, StageFailed, Stopped, WorkersFail
from services.launcher.asked import read
from services.launcher.creation import creation
from services.launcher.settings import Settings
from tests.contracts.executor_places import Containers, no_engine
from tests.journeys.under_fire.ground import sheet, unit
from tests.services.executors.engines import IDENTITY, Images, staged
from training.protocol.job import Job
from training.protocol.recipe import Running

BASE = "python:3.11-slim-bookworm"


def jobs(count: int, shared: int = 1, **changes: Any) -> list[Job]:
    running, here = Running(units_per_gpu=shared), Path("/state")
    return [
        Job(
            unit=unit(seed, films=sheet(8)).model_copy(update=changes), stores={}, tracking_uri="", claims_uri="", home=here,
            weights=here, parent_run="", running=running,
        )
        for seed in range(count)
    ]  # fmt: skip


def planned(count: int = 1, settings: ContainerSettings | None = None, **changes: Any) -> tuple[Request, ...]:
    environment = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    executor = ContainerExecutor(
        4, Path("/state"), settings or ContainerSettings(), stack="test", environment=environment, engine=Images()
    )
    return executor.plan(jobs(count, **changes))


def body(request: Request, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the SDK sends to create the container of a request."""

    class Sent(Exception):
        pass

    def send(_url: str, data: object, **_: object) -> None:
        raise Sent(data)

    client = docker.DockerClient(base_url="tcp://127.0.0.1:1", version="1.45")
    monkeypatch.setattr(client.api, "_post_json", send)
    with pytest.raises(Sent) as sent:
        client.containers.create(use_config_proxy=False, **asked(request))
    return json.dumps(sent.value.args[0]).encode()


def test_a_plan_is_data_and_the_same_each_time() -> None:
    first = planned(2)
    assert first == planned(2)
    assert [request.slot for request in first] == [0, 1]
    assert first[0].command == ("python", "-m", "training.protocol.worker", "--mailbox", "/state/mailboxes/test-worker-0")
    assert first[0].options["labels"].items() >= {"mdmt.stack": "test", "mdmt.role": "worker", "mdmt.slot": "0"}.items()
    other = planned(2, ContainerSettings(unit_memory="2g"))
    assert other[0].options["labels"]["mdmt.request"] != first[0].options["labels"]["mdmt.request"]


def test_units_log_in_with_an_account_of_their_own_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    for name, value in zip((*names, *OF_UNITS.values()), ("promoter", "p", "trainer", "t"), strict=True):
        monkeypatch.setenv(name, value)
    (request,) = planned()
    assert [request.environment[name] for name in names] == ["trainer", "t"]
    assert not request.environment.keys() & set(OF_UNITS.values())
    for name in OF_UNITS.values():
        monkeypatch.delenv(name)
    (request,) = planned()
    assert [request.environment[name] for name in names] == ["promoter", "p"]


def test_a_stage_logs_in_as_the_service_does_and_its_environment_shows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """docs/operations.md says so to operators."""
    for name, value in zip((*OF_UNITS, *OF_UNITS.values()), ("promoter", "p", "trainer", "t"), strict=True):
        monkeypatch.setenv(name, value)
    (stage,) = staged(tmp_path, "prepare")
    assert [stage["environment"][name] for name in OF_UNITS] == ["promoter", "p"]
    assert not stage["environment"].keys() & set(OF_UNITS.values())


def test_only_the_stage_that_makes_bundles_has_what_signs_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    private, _ = new_key()
    (tmp_path / "signing.key").write_text(private)
    monkeypatch.setenv("MDMT_SIGNING_KEY_FILE", str(tmp_path / "signing.key"))
    prepare, register = staged(tmp_path, "prepare", "register")
    assert private not in str((planned(), prepare))
    assert register["environment"].items() - prepare["environment"].items() == {("MDMT_SIGNING_KEY", private)}


def test_gpus_are_in_the_plan_as_device_requests_and_refused_where_there_are_none() -> None:
    settings = ContainerSettings(gpus=("0", "GPU-4f"))
    first, second, third = planned(3, settings, device="cuda", shared=2)
    assert first.gpus == third.gpus == ("0",) and second.gpus == ("GPU-4f",)
    assert second.options["device_requests"] == [
        {"Driver": "nvidia", "Count": 0, "DeviceIDs": ["GPU-4f"], "Capabilities": [["gpu"]], "Options": {}}
    ]
    with pytest.raises(NoSuchDevice, match=r"the engine's machine \(MDMT_GPUS\) has no NVIDIA GPU"):
        planned(1, device="cuda")


def test_what_is_asked_for_is_what_the_launcher_allows_and_it_changes_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = Settings(
        stack="test", unit_image="mdmt-unit", unit_network="mdmt_units", state_volume="mdmt_state", data_volume="mdmt_data",
        unit_gpus=2,
    )  # fmt: skip
    gpu = ContainerSettings(gpus=("0", "1"))
    for request in (*planned(2), *planned(1, gpu, device="cuda", gpus_per_unit=2)):
        name, made = creation(read(body(request, monkeypatch)), str(request.options["name"]), launcher, IDENTITY)
        host = made["HostConfig"]
        assert name == f"test-worker-{request.slot}"
        assert made["Cmd"] == list(request.command)
        assert made["Labels"] == request.options["labels"]
        assert {line.split("=", 1)[0] for line in made["Env"]} >= request.environment.keys()
        assert {"OMP_NUM_THREADS=1", "CUBLAS_WORKSPACE_CONFIG=:4096:8"} <= set(made["Env"])
        assert (host["Memory"], host["ShmSize"], host["PidsLimit"], host["Init"]) == (4 << 30, 1 << 30, 512, True)
        assert [(m["Source"], m["Target"], m["ReadOnly"]) for m in host["Mounts"]] == [
            ("mdmt_state", "/state", False), ("mdmt_data", "/data", True),
        ]  # fmt: skip
        assert len(host["DeviceRequests"]) == bool(request.gpus)


def test_an_engine_that_does_not_answer_is_said_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setattr("services.executors.container_engine.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("services.executors.container_engine.PAUSE_SECONDS", 0.1)
    with pytest.raises(WorkersFail, match=r"no container engine answers: .*; DOCKER_HOST names it"):
        ContainerExecutor(1, Path("/state"), ContainerSettings()).plan(jobs(1))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Containers]:
    if why := no_engine():
        pytest.skip(why)
    here = Containers(BASE)
    yield here
    here.tidy()


class Ground:
    """As much of one as settings need."""

    def __init__(self, home: Path) -> None:
        self.home, self.films = home, home / "films"
        self.films.mkdir()


@pytest.fixture
def options(stack: Containers, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Options of a worker's container, with something else to run in it."""

    def make(command: str, **more: Any) -> dict[str, Any]:
        executor = ContainerExecutor(1, tmp_path, stack.settings(Ground(tmp_path)), stack=stack.stack)  # type: ignore[arg-type]
        (request,) = executor.plan(jobs(1))
        return dict(asked(request)) | {"command": ["sh", "-c", command]} | more

    return make


def ended(engine: Engine, name: str, seconds: float = 60) -> End:
    give_up = time.monotonic() + seconds
    while (end := engine.end(name)) is None:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    return end


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("exit 0", End(0, False)),
        ("exit 3", End(3, False)),
        ("python -c 'import ctypes; ctypes.string_at(0)'", End(139, False)),
        ("python -c 'import os; os.kill(os.getpid(), 9)'", End(137, False)),
        ("exec python -c 'x = bytearray(1 << 30); print(len(x))'", End(137, True)),
    ],
)
def test_how_a_container_ended_is_told_apart(options: Callable[..., dict[str, Any]], command: str, end: End) -> None:
    engine, asked_for = Engine(), options(command, mem_limit="128m", memswap_limit="128m")
    engine.start(**asked_for)
    assert ended(engine, asked_for["name"]) == end
    engine.remove(asked_for["name"])
    engine.remove(asked_for["name"])
    assert engine.end(asked_for["name"]) == End(137, False)


@pytest.mark.slow
def test_inside_nothing_may_be_written_but_the_state_and_tmp_and_there_is_no_way_out(
    options: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    tries = [
        "touch /x && echo root-written", f"touch {tmp_path}/films/x && echo data-written", "touch /tmp/x && echo tmp-written",
        f"touch {tmp_path}/x && echo state-written", "cat /proc/self/status", "ls /sys/class/net",
    ]  # fmt: skip
    engine, asked_for = Engine(), options("; ".join(["exec 2>&1", *tries]))
    engine.start(**asked_for)
    assert ended(engine, asked_for["name"]).code == 0
    engine.save_log(asked_for["name"], tmp_path / "log")
    said = (tmp_path / "log").read_text()
    assert "tmp-written" in said and "state-written" in said
    assert "root-written" not in said and "data-written" not in said
    assert "CapEff:\t0000000000000000" in said and "NoNewPrivs:\t1" in said
    assert said.splitlines()[-1] == "lo"


@pytest.mark.slow
def test_a_gpu_that_the_engine_does_not_have_is_a_clear_error_and_leaves_nothing(
    stack: Containers, options: Callable[..., dict[str, Any]]
) -> None:
    asked_for = options(
        "exit 0", device_requests=[docker.types.DeviceRequest(driver="nvidia", device_ids=["0"], capabilities=[["gpu"]])]
    )
    with pytest.raises(NoSuchDevice, match="the engine has no GPUs to give"):
        Engine().start(**asked_for)
    assert stack.containers() == []


@pytest.mark.slow
def test_an_image_that_is_not_there_is_named(stack: Containers, tmp_path: Path) -> None:
    settings = stack.settings(Ground(tmp_path), unit_image="mdmt-no-such-image")  # type: ignore[arg-type]
    with pytest.raises(WorkersFail, match="no image 'mdmt-no-such-image': build it"):
        ContainerExecutor(1, tmp_path, settings, stack=stack.stack).plan(jobs(1))


@pytest.mark.slow
def test_a_stage_runs_a_verb_and_says_what_went_wrong_and_ends_when_told_to(
    stack: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the plain base image `mdmt` is a script of this test's own, on the state volume."""
    script = tmp_path / "mdmt"
    script.write_text('#!/bin/sh\n[ "$1" = wait ] && exec sleep 100\necho "$MDMT_HOME says $*"\n[ "$1" = prepare ]\n')
    script.chmod(0o755)
    stop, settings = Flag(), stack.settings(Ground(tmp_path))  # type: ignore[arg-type]
    environment = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"}
    executor = ContainerExecutor(1, tmp_path, settings, stop, stack.stack, environment)
    executor.stage(["prepare", "--recipe", "demo"])
    with pytest.raises(StageFailed, match=rf"`mdmt register x` in its container ended with code 1:\n{tmp_path} says register x"):
        executor.stage(["register", "x"])
    Thread(target=lambda: (time.sleep(2), stop.set())).start()
    begun = time.monotonic()
    with pytest.raises(Stopped, match="told to stop during wait"):
        executor.stage(["wait"])
    assert time.monotonic() - begun < 10
    assert stack.containers() == []
    assert len(list((tmp_path / "logs").glob(f"{stack.stack}-stage-*.log"))) == 2
    assert os.environ.get("MDMT_HOME") != str(tmp_path)
