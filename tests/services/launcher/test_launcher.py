"""What is allowed: the SDK's own calls pass, what reaches the engine is built anew, and only our containers exist."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker.types import LogConfig

import docker
from services.launcher.settings import Settings
from tests.postgres import free_port
from tests.services.launcher import stand_in
from tests.services.launcher.asked import GIB, MOUNTS, STAGE, WORKER
from tests.services.launcher.conftest import launcher
from tests.services.launcher.stand_in import FOREIGN, IDENTITY, IMAGE, Engine


def test_what_the_sdk_asks_for_reaches_the_engine_rebuilt(client: docker.DockerClient, engine: Engine) -> None:
    """The widest request that is allowed, as an executor sends it."""
    made = client.containers.create(
        IMAGE, WORKER,
        name="mdmt-worker-0", environment={"MDMT_HOME": "/state", "OMP_NUM_THREADS": "1"},
        labels={"mdmt.role": "worker", "mdmt.slot": "0", "mdmt.stack": "mdmt"}, mem_limit="2g", memswap_limit="2g",
        pids_limit=256, nano_cpus=1_000_000_000, shm_size="512m", network="mdmt_units", mounts=MOUNTS, read_only=True,
        tmpfs={"/tmp": "size=256m,mode=1777"}, cap_drop=["ALL"], security_opt=["no-new-privileges"], user="10001:10001",
        log_config=LogConfig(type="json-file", config={"max-size": "5m"}), init=True, auto_remove=False, stop_signal="SIGTERM",
        detach=True, restart_policy={"Name": "no"}, ipc_mode="private", cgroupns="private", privileged=False,
    )  # fmt: skip
    assert made.name == "mdmt-worker-0"
    [body] = engine.created
    assert body["Image"] == IDENTITY
    assert body["Cmd"] == WORKER
    assert body["Env"] == ["MDMT_HOME=/state", "OMP_NUM_THREADS=1", "NVIDIA_VISIBLE_DEVICES=void"]
    assert body["Labels"] == {"mdmt.role": "worker", "mdmt.slot": "0", "mdmt.stack": "mdmt"}
    host = body["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (2 * GIB, 2 * GIB, 256)
    assert (host["NanoCpus"], host["ShmSize"]) == (1_000_000_000, GIB // 2)
    assert host["Tmpfs"] == {"/tmp": f"rw,noexec,nosuid,nodev,mode=1777,size={256 << 20}"}
    assert host["Mounts"] == [
        {"Type": "volume", "Source": "mdmt_state", "Target": "/state", "ReadOnly": False},
        {"Type": "volume", "Source": "mdmt_data", "Target": "/data", "ReadOnly": True},
    ]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}}
    assert host["Init"] is True


def test_what_is_not_asked_for_is_forced(client: docker.DockerClient, engine: Engine) -> None:
    client.containers.create(IMAGE, STAGE)
    [body] = engine.created
    assert body["User"] == "10001:10001"
    assert body["Labels"] == {"mdmt.role": "stage", "mdmt.stack": "mdmt"}
    assert body["HostConfig"] == {
        "NetworkMode": "mdmt_units", "Mounts": [], "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,mode=1777,size={GIB}"},
        "ReadonlyRootfs": True, "Privileged": False, "CapAdd": [], "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"],
        "IpcMode": "private", "CgroupnsMode": "private", "PidMode": "", "UTSMode": "", "UsernsMode": "", "Memory": 4 * GIB,
        "MemorySwap": 4 * GIB, "ShmSize": GIB, "PidsLimit": 512, "NanoCpus": 2_000_000_000, "DeviceRequests": [],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}, "RestartPolicy": {"Name": "no"},
        "AutoRemove": False, "Init": False,
    }  # fmt: skip


def test_volumes_may_be_asked_for_as_binds_by_name(client: docker.DockerClient, engine: Engine) -> None:
    volumes = {"mdmt_state": {"bind": "/state", "mode": "rw"}, "mdmt_data": {"bind": "/data", "mode": "ro"}}
    client.containers.create(IDENTITY, STAGE, volumes=volumes)
    assert [(one["Target"], one["ReadOnly"]) for one in engine.created[0]["HostConfig"]["Mounts"]] == [
        ("/state", False),
        ("/data", True),
    ]


def test_gpus_are_given_by_number_or_by_name_where_the_settings_allow_them(
    shared_engine: Engine, engine: Engine, connect: Callable[..., docker.DockerClient]
) -> None:
    with launcher(Settings(unit_image=IMAGE, launcher_socket=shared_engine.socket, unit_gpus=2)) as address:
        client = connect(address)
        for asked in ({"count": 2}, {"device_ids": ["0", "GPU-8a56a4bc-e184-a047"]}):
            client.containers.create(IMAGE, WORKER, device_requests=[docker.types.DeviceRequest(capabilities=[["gpu"]], **asked)])
        for asked in (
            {"count": 3},
            {"count": -1},
            {"device_ids": ["0", "1", "2"]},
            {"device_ids": ["all"]},
            {"driver": "cdi", "count": 1},
        ):
            with pytest.raises(docker.errors.APIError, match="DeviceRequests"):
                client.containers.create(
                    IMAGE, WORKER, device_requests=[docker.types.DeviceRequest(capabilities=[["gpu"]], **asked)]
                )
    assert [one["HostConfig"]["DeviceRequests"] for one in engine.created] == [
        [{"Driver": "nvidia", "Capabilities": [["gpu"]], "Count": 2}],
        [{"Driver": "nvidia", "Capabilities": [["gpu"]], "DeviceIDs": ["0", "GPU-8a56a4bc-e184-a047"]}],
    ]


def test_a_container_lives_through_the_sdk(client: docker.DockerClient, engine: Engine) -> None:
    made = client.containers.create(IMAGE, WORKER)
    made.start()
    made.stop(timeout=3)
    made.kill("SIGKILL")
    made.reload()
    assert [one.id for one in client.containers.list(all=True, filters={"label": ["mdmt.role=worker"]})] == [made.id]
    engine.ended.set()
    assert made.wait() == {"StatusCode": 0}
    assert made.logs(tail=20) == b"one\ntwo\n"
    made.remove(force=True, v=True)
    assert engine.find(made.id) is None
    asked = [(call.method, call.path.rpartition("/")[2], call.query) for call in engine.changes[1:]]
    assert asked == [
        ("POST", "start", {}), ("POST", "stop", {"t": ["3"]}), ("POST", "kill", {"signal": ["SIGKILL"]}), ("POST", "wait", {}),
        ("DELETE", made.id, {"v": ["True"], "link": ["False"], "force": ["True"]}),
    ]  # fmt: skip


def test_lists_are_narrowed_to_the_stack_before_the_engine_and_after_it(client: docker.DockerClient, engine: Engine) -> None:
    assert client.containers.list(all=True) == []
    [call] = [call for call in engine.calls if call.path.endswith("/containers/json")]
    assert json.loads(call.query["filters"][0]) == {"label": ["mdmt.stack=mdmt"]}


@pytest.mark.parametrize("name", [*FOREIGN, f"{0:064x}", "absent"])
@pytest.mark.parametrize("deed", ["inspect", "start", "stop", "kill", "wait", "logs", "remove"])
def test_a_foreign_container_does_not_exist_and_is_left_alone(
    client: docker.DockerClient, engine: Engine, name: str, deed: str
) -> None:
    api = client.api
    deeds: dict[str, Callable[[str], Any]] = {
        "inspect": api.inspect_container, "start": api.start, "stop": api.stop, "kill": api.kill, "wait": api.wait,
        "remove": lambda one: api.remove_container(one, force=True), "logs": lambda one: api._get(api._url("/containers/{0}/logs", one)),
    }  # fmt: skip
    before = dict(engine.containers)
    if deed == "logs":
        assert deeds[deed](name).status_code == 404
    else:
        with pytest.raises(docker.errors.NotFound, match=f"No such container: {name}"):
            deeds[deed](name)
    assert engine.changes == [] and engine.containers == before
    assert not any(call.path.endswith("/logs") for call in engine.calls)


def test_actions_name_the_container_that_was_looked_at_by_its_full_id(client: docker.DockerClient, engine: Engine) -> None:
    """A name can pass to another container between the two calls; an id cannot."""
    made = client.containers.create(IMAGE, WORKER, name="mdmt-worker-7")
    client.api.start("mdmt-worker-7")
    assert engine.changes[-1].path == f"/v1.45/containers/{made.id}/start"


def test_the_engine_is_asked_in_its_own_version_whichever_the_caller_names(
    address: str, engine: Engine, connect: Callable[..., docker.DockerClient]
) -> None:
    """In an old version the engine would drop PidsLimit and CgroupnsMode."""
    connect(address, version="1.39").containers.create(IMAGE, WORKER)
    assert engine.changes[-1].path == "/v1.45/containers/create"


def test_logs_come_while_they_are_written(client: docker.DockerClient, engine: Engine) -> None:
    made = client.containers.create(IMAGE, WORKER)
    began = time.monotonic()
    lines = [(line, time.monotonic() - began) for line in made.logs(stream=True, follow=True)]
    assert [line for line, _ in lines] == [b"one\n", b"two\n"]
    assert lines[1][1] - lines[0][1] > 0.2


def test_whoever_stops_waiting_ends_the_call_to_the_engine(address: str, client: docker.DockerClient, engine: Engine) -> None:
    made = client.containers.create(IMAGE, WORKER)
    caller = http.client.HTTPConnection(address, timeout=5)
    caller.request("POST", f"/v1.45/containers/{made.id}/wait")
    assert caller.getresponse().status == 200  # the headers come before the container ends
    caller.sock.close()
    caller.close()
    assert engine.left.wait(5)


def test_many_may_wait_while_others_are_answered(
    client: docker.DockerClient, engine: Engine, connect: Callable[..., Any], address: str
) -> None:
    made = client.containers.create(IMAGE, WORKER)
    codes: list[Any] = []
    waiting = [threading.Thread(target=lambda: codes.append(connect(address).api.wait(made.id))) for _ in range(60)]
    for thread in waiting:
        thread.start()
    deadline = time.monotonic() + 10
    while sum(call.path.endswith("/wait") for call in engine.calls) < 60 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert client.ping()
    engine.ended.set()
    for thread in waiting:
        thread.join(10)
    assert codes == [{"StatusCode": 0}] * 60


def test_the_number_of_containers_is_bounded_also_when_many_ask_at_once(
    address: str, engine: Engine, connect: Callable[..., docker.DockerClient]
) -> None:
    answers: list[int] = []

    def create() -> None:
        try:
            connect(address).containers.create(IMAGE, WORKER)
            answers.append(201)
        except docker.errors.APIError as error:
            assert "3 containers are there; allowed: 3" in str(error)
            answers.append(error.status_code)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] * 3 + [409] * 5


def test_only_the_image_of_the_units_is_shown(client: docker.DockerClient, engine: Engine) -> None:
    assert client.images.get(IMAGE).id == client.images.get(IDENTITY).id == IDENTITY
    for name in ("postgres:15", f"../{IMAGE}", IMAGE.upper()):
        with pytest.raises(docker.errors.APIError, match="allowed"):
            client.images.get(name)


def test_a_network_with_a_way_out_is_refused(client: docker.DockerClient, engine: Engine) -> None:
    engine.internal = False
    with pytest.raises(docker.errors.APIError, match="mdmt_units: found 'not internal'; allowed: an internal one"):
        client.containers.create(IMAGE, WORKER)
    assert engine.changes == []


def test_the_version_tells_what_the_sdk_needs_and_no_more(client: docker.DockerClient, engine: Engine) -> None:
    assert client.version() == {"ApiVersion": "1.45", "MinAPIVersion": "1.24"}


def test_an_engine_whose_api_is_too_old_is_not_used(tmp_path: Path, socket: Path) -> None:
    with stand_in.running(socket.with_name("old.sock")) as engine:
        engine.version = "1.40"
        with launcher(Settings(unit_image=IMAGE, launcher_socket=engine.socket)) as address:
            answer = get(address, "/_ping")
    assert answer == (503, "the engine's API is 1.40; at least 1.41 is needed: upgrade it")


def test_the_health_check_reaches_the_engine(address: str, engine: Engine, socket: Path) -> None:
    assert get(address, "/_ping")[0] == 200 and engine.calls[-1].path.endswith("/_ping")
    with launcher(Settings(unit_image=IMAGE, launcher_socket=socket.with_name("nobody.sock"))) as alone:
        status, message = get(alone, "/_ping")
    assert status == 503 and "the engine does not answer at" in message


def test_an_engine_that_was_away_is_found_again(socket: Path) -> None:
    place = socket.with_name("restarted.sock")
    with launcher(Settings(unit_image=IMAGE, launcher_socket=place)) as address:
        for _ in range(2):
            with stand_in.running(place):
                assert get(address, "/_ping")[0] == get(address, "/_ping")[0] == 200
            assert get(address, "/_ping")[0] == 503


def test_the_verb_serves_until_it_is_told_to_stop(engine: Engine) -> None:
    port = free_port()
    code = "import typer; from services.commands.launcher import launcher; typer.run(launcher)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--port", str(port), "--socket", str(engine.socket)], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                assert get(f"127.0.0.1:{port}", "/build")[0] == 403
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        process.terminate()
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
    assert "403 call: found 'GET /build'; allowed: GET /_ping" in said
    assert process.returncode in (0, -signal.SIGTERM)


def test_sizes_are_read_as_docker_reads_them_and_wrong_settings_say_what_is_allowed() -> None:
    assert Settings(unit_image=IMAGE, unit_memory="4g").unit_memory == 4 * GIB
    for wrong in ({"unit_memory": "much"}, {"unit_user": "0:0"}, {"unit_user": "root"}, {"stack": "a b"}, {"unit_memory": "0"}):
        with pytest.raises(ValueError, match=f"MDMT_{next(iter(wrong)).upper()}"):
            Settings(unit_image=IMAGE, **wrong)


def get(address: str, path: str) -> tuple[int, str]:
    caller = http.client.HTTPConnection(address, timeout=10)
    caller.request("GET", path)
    answer = caller.getresponse()
    text = answer.read().decode()
    caller.close()
    return answer.status, json.loads(text)["message"] if answer.status != 200 else text
