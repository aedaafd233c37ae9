"""Through the launcher on a real engine: a unit's container runs and is shut in, a foreign one is out of reach."""

import io
import json
import os
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.types import Mount

import docker
from services.launcher.settings import Settings
from tests.services.launcher.asked import WORKER
from tests.services.launcher.conftest import launcher
from tests.services.launcher.test_escapes import SDK

pytestmark = pytest.mark.slow
BASE = "python:3.11-slim-bookworm"
DOCKERFILE = f"FROM {BASE}\nRUN install -d -o 10001 -g 10001 /state /data /app\nCOPY worker.py /app/training/protocol/worker.py\n"
DOCKERFILE += "WORKDIR /app\nENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1\n"
WORKER_CODE = Path(__file__).with_name("probe.py").read_text()
MIB = 1 << 20


@pytest.fixture(scope="module")
def real() -> Iterator[docker.DockerClient]:
    try:
        client = docker.from_env(timeout=120)
        client.images.get(BASE)
    except docker.errors.DockerException as error:
        pytest.skip(f"no engine with {BASE}: {error}")
    if not client.api.base_url.startswith("http+docker"):
        pytest.skip(f"the engine is at {client.api.base_url}, not at a socket")
    yield client
    client.close()


@pytest.fixture(scope="module")
def ground(real: docker.DockerClient) -> Iterator[Settings]:
    """Image, network and volumes of an installation of its own; all of it is removed at the end."""
    stack = f"mdmt-test-{uuid.uuid4().hex[:8]}"
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, text in (("Dockerfile", DOCKERFILE), ("worker.py", WORKER_CODE)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    context.seek(0)
    real.images.build(fileobj=context, custom_context=True, tag=f"{stack}-unit", rm=True)
    network = real.networks.create(f"{stack}_units", internal=True)
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    yield Settings(
        stack=stack, unit_image=f"{stack}-unit", unit_network=f"{stack}_units", state_volume=f"{stack}_state",
        data_volume=f"{stack}_data", unit_memory="256m", unit_shm="32m", unit_tmp="32m", unit_cpus=1, unit_pids=64,
        launcher_socket=Path(host.removeprefix("unix://")),
    )  # fmt: skip
    for container in real.containers.list(all=True, filters={"label": f"mdmt.stack={stack}"}):
        container.remove(force=True, v=True)
    network.remove()
    for volume in real.volumes.list(filters={"name": stack}):
        volume.remove()
    real.images.remove(f"{stack}-unit")


@pytest.fixture(scope="module")
def through(ground: Settings, connect: Callable[..., docker.DockerClient]) -> Iterator[docker.DockerClient]:
    with launcher(ground) as address:
        yield connect(address, timeout=60)


def mounts(ground: Settings) -> list[Mount]:
    return [Mount("/state", ground.state_volume), Mount("/data", ground.data_volume, read_only=True)]


def test_a_container_runs_shut_in_and_is_heard_waited_for_and_removed(through: docker.DockerClient, ground: Settings) -> None:
    made = through.containers.create(ground.unit_image, WORKER, name=f"{ground.stack}-worker-0", mounts=mounts(ground))
    made.start()
    assert made.wait()["StatusCode"] == 0, made.logs()
    found: dict[str, Any] = json.loads(made.logs())
    assert found["CapEff"] == found["CapPrm"] == found["CapBnd"] == "0000000000000000"
    assert (found["NoNewPrivs"], found["Seccomp"], found["uid"], found["gid"]) == ("1", "2", 10001, 10001)
    assert found["pid"] == 1
    assert found["writes"] == {"/app": "EROFS", "/etc": "EROFS", "/data": "EROFS", "/state": "done", "/tmp": "done"}
    assert found["runs from /tmp"] == "EACCES"
    assert found["routes"] == [] and set(found["reaches"].values()) == {"ENETUNREACH"}
    assert found["memory"] == 256 * MIB and found["pids"] == 64
    assert not any(device.startswith(("sd", "nvme", "vd", "nvidia")) for device in found["devices"])
    assert found["open"] == []
    made.remove()
    assert through.containers.list(all=True) == []


def test_a_running_container_can_be_followed_and_stopped(through: docker.DockerClient, ground: Settings) -> None:
    made = through.containers.create(ground.unit_image, WORKER, environment={"MDMT_STAY": "1"}, mounts=mounts(ground))
    made.start()
    began = time.monotonic()
    assert json.loads(next(made.logs(stream=True, follow=True)))["pid"] == 1
    assert time.monotonic() - began < 30, "the first line came with the last"
    made.reload()
    assert made.status == "running"
    assert [one.name for one in through.containers.list(filters={"label": ["mdmt.role=worker"]})] == [made.name]
    made.stop(timeout=8)
    assert made.wait()["StatusCode"] == 0  # it hears SIGTERM
    made.start()
    made.kill()
    assert made.wait()["StatusCode"] == 137
    made.remove(force=True, v=True)


def test_a_foreign_container_is_invisible_and_goes_on(
    real: docker.DockerClient, through: docker.DockerClient, ground: Settings
) -> None:
    for labels in ({}, {"mdmt.stack": ground.stack}, {"mdmt.stack": "another", "mdmt.role": "worker"}):
        foreign = real.containers.run(BASE, ["sleep", "300"], detach=True, labels=labels, network_mode="none", init=True)
        try:
            assert foreign.id not in [one.id for one in through.containers.list(all=True)]
            for deed in ("inspect_container", "stop", "kill", "restart", "remove_container", "wait", "start"):
                with pytest.raises(docker.errors.APIError) as refused:
                    getattr(through.api, deed)(foreign.name)
                assert refused.value.status_code == (403 if deed == "restart" else 404)
            foreign.reload()
            assert foreign.status == "running"
        finally:
            foreign.remove(force=True)


def test_no_escape_leaves_a_container_behind(through: docker.DockerClient, real: docker.DockerClient, ground: Settings) -> None:
    before = {one.id for one in real.containers.list(all=True, filters={"label": f"mdmt.stack={ground.stack}"})}
    for name, (_, spec) in SDK.items():
        with pytest.raises(docker.errors.APIError) as refused:
            through.containers.create(**{"image": ground.unit_image, "command": WORKER, **spec})
        assert refused.value.status_code == 403, name
    assert {one.id for one in real.containers.list(all=True, filters={"label": f"mdmt.stack={ground.stack}"})} == before


def test_an_absent_image_is_said_so(ground: Settings, connect: Callable[..., docker.DockerClient]) -> None:
    with (
        launcher(ground.model_copy(update={"unit_image": "mdmt-absent"})) as address,
        pytest.raises(docker.errors.ImageNotFound, match="No such image"),
    ):
        connect(address).containers.create("mdmt-absent", WORKER)
