"""Ways out of a container, each refused before the engine hears of it: through the SDK, as raw bodies, as paths and as queries."""

import http.client
import json
import re
import socket
from typing import Any

import pytest
from docker.types import DeviceRequest, DriverConfig, Healthcheck, LogConfig, Mount, Ulimit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

import docker
from services.launcher import app
from services.launcher.asked import Asked, HostConfig
from tests.services.launcher.stand_in import IMAGE, Engine
from tests.services.launcher.test_launcher import GIB, MOUNTS, STAGE, WORKER

RIGHT: dict[str, Any] = {"Image": IMAGE, "Cmd": WORKER, "HostConfig": {"NetworkMode": "mdmt_units"}}

SDK: dict[str, tuple[str, dict[str, Any]]] = {
    "privileged": ("Privileged", {"privileged": True}),
    "a capability": ("CapAdd", {"cap_add": ["SYS_ADMIN"]}),
    "all capabilities but one dropped": ("CapDrop", {"cap_drop": ["CHOWN"]}),
    "the root of the host": ("Binds", {"volumes": {"/": {"bind": "/state", "mode": "rw"}}}),
    "the socket": ("Binds", {"volumes": {"/var/run/docker.sock": {"bind": "/var/run/docker.sock"}}}),
    "a volume of somebody else": ("Binds", {"volumes": {"mdmt_postgres": {"bind": "/state"}}}),
    "the data for writing": ("Binds", {"volumes": {"mdmt_data": {"bind": "/data", "mode": "rw"}}}),
    "our volume at another place": ("Binds", {"volumes": {"mdmt_state": {"bind": "/usr/lib"}}}),
    "propagation of mounts": ("Binds", {"volumes": {"mdmt_state": {"bind": "/state", "mode": "rw,rshared"}}}),
    "a bind mount": ("Mounts.0.Type", {"mounts": [Mount("/state", "/etc", type="bind")]}),
    "a bind mount of a volume's name": ("Mounts.0.Type", {"mounts": [Mount("/state", "mdmt_state", type="bind")]}),
    "a pipe": ("Mounts.0.Type", {"mounts": [Mount("/state", "mdmt_state", type="npipe")]}),
    "a tmpfs mount": ("Mounts.0", {"mounts": [Mount("/usr", None, type="tmpfs")]}),
    "a volume that its driver binds": (
        "VolumeOptions",
        {"mounts": [Mount("/state", "mdmt_state", driver_config=DriverConfig("local", {"o": "bind", "device": "/", "type": "none"}))]},
    ),
    "a mount of the data for writing": ("Mounts", {"mounts": [Mount("/data", "mdmt_data")]}),
    "one place twice": ("Mounts", {"mounts": [*MOUNTS, MOUNTS[0]]}),
    "a volume driver": ("VolumeDriver", {"volume_driver": "nfs"}),
    "volumes of another container": ("VolumesFrom", {"volumes_from": ["postgres"]}),
    "tmpfs over a system folder": ("Tmpfs", {"tmpfs": {"/etc": ""}}),
    "programs in tmpfs": ("Tmpfs", {"tmpfs": {"/tmp": "exec,suid"}}),
    "a huge tmpfs": ("Tmpfs", {"tmpfs": {"/tmp": "size=100g"}}),
    "processes of the host": ("PidMode", {"pid_mode": "host"}),
    "processes of another container": ("PidMode", {"pid_mode": "container:postgres"}),
    "memory of the host": ("IpcMode", {"ipc_mode": "host"}),
    "the host's name": ("UTSMode", {"uts_mode": "host"}),
    "users of the host": ("UsernsMode", {"userns_mode": "host"}),
    "control groups of the host": ("CgroupnsMode", {"cgroupns": "host"}),
    "the network of the host": ("NetworkMode", {"network_mode": "host"}),
    "the network of another container": ("NetworkMode", {"network_mode": "container:postgres"}),
    "the network of the database": ("NetworkMode", {"network": "mdmt_database"}),
    "the default network": ("NetworkMode", {"network_mode": "bridge"}),
    "the name of a service in the network": (
        "NetworkingConfig",
        {"network": "mdmt_units", "networking_config": {"mdmt_units": docker.types.EndpointConfig("1.45", aliases=["mlflow"])}},
    ),
    "a second network": (
        "NetworkingConfig",
        {"network": "mdmt_units", "networking_config": {"mdmt_units": None, "mdmt_web": docker.types.EndpointConfig("1.45")}},
    ),
    "the container's name as that of a service": ("name", {"name": "mlflow"}),
    "a service's name as the stack has it": ("name", {"name": "mdmt-mlflow-1"}),
    "a host name": ("Hostname", {"hostname": "mlflow"}),
    "a disk": ("Devices", {"devices": ["/dev/sda:/dev/sda:rwm"]}),
    "rules for devices": ("DeviceCgroupRules", {"device_cgroup_rules": ["a *:* rwm"]}),
    "a GPU where there is none": ("DeviceRequests", {"device_requests": [DeviceRequest(count=1, capabilities=[["gpu"]])]}),
    "a device of another driver": ("DeviceRequests", {"device_requests": [DeviceRequest(driver="cdi", device_ids=["x=all"])]}),
    "no filter of system calls": ("SecurityOpt", {"security_opt": ["seccomp=unconfined"]}),
    "no AppArmor": ("SecurityOpt", {"security_opt": ["no-new-privileges", "apparmor=unconfined"]}),
    "no labels of SELinux": ("SecurityOpt", {"security_opt": ["label=disable"]}),
    "new privileges": ("SecurityOpt", {"security_opt": ["no-new-privileges:false"]}),
    "a root that can be written": ("ReadonlyRootfs", {"read_only": False}),
    "root": ("User", {"user": "0"}),
    "root by name": ("User", {"user": "root"}),
    "root as group": ("User", {"user": "10001:0"}),
    "a further group": ("GroupAdd", {"group_add": ["docker"]}),
    "settings of the kernel": ("Sysctls", {"sysctls": {"kernel.core_pattern": "|/state/x"}}),
    "hosts by hand": ("ExtraHosts", {"extra_hosts": {"mlflow": "10.0.0.1"}}),
    "another name server": ("Dns", {"dns": ["10.0.0.1"]}),
    "a link": ("Links", {"links": {"postgres": "db"}}),
    "another runtime": ("Runtime", {"runtime": "nvidia"}),
    "another control group": ("CgroupParent", {"cgroup_parent": "/"}),
    "limits of the shell": ("Ulimits", {"ulimits": [Ulimit(name="nofile", hard=1 << 20)]}),
    "not to be killed when memory ends": ("OomKillDisable", {"oom_kill_disable": True}),
    "to be killed last": ("OomScoreAdj", {"oom_score_adj": -1000}),
    "too much memory": ("Memory", {"mem_limit": "5g"}),
    "memory without limit": ("Memory", {"mem_limit": 0}),
    "swap": ("MemorySwap", {"mem_limit": "1g", "memswap_limit": -1}),
    "processes without limit": ("PidsLimit", {"pids_limit": -1}),
    "too many processors": ("NanoCpus", {"nano_cpus": 64_000_000_000}),
    "too much shared memory": ("ShmSize", {"shm_size": "64g"}),
    "published ports": ("PortBindings", {"ports": {"22/tcp": 2222}}),
    "all ports published": ("PublishAllPorts", {"publish_all_ports": True}),
    "to start again for ever": ("RestartPolicy", {"restart_policy": {"Name": "always"}}),
    "to vanish when it ends": ("AutoRemove", {"auto_remove": True}),
    "logs to another machine": ("LogConfig", {"log_config": LogConfig(type="syslog", config={"syslog-address": "tcp://x:1"})}),
    "logs without end": ("LogConfig", {"log_config": LogConfig(type="json-file", config={"max-size": "-1"})}),
    "another image": ("Image", {"image": "postgres:15"}),
    "another image by id": ("Image", {"image": "sha256:" + "b" * 64}),
    "another tag of the image": ("Image", {"image": "mdmt-unit"}),
    "an entrypoint": ("Entrypoint", {"entrypoint": ["sh", "-c"]}),
    "a shell": ("Cmd", {"command": ["sh", "-c", "id"]}),
    "the image's own command": ("Cmd", {"command": None}),
    "a text of Python": ("Cmd", {"command": ["python", "-c", "import os"]}),
    "a worker that is told more": ("Cmd", {"command": [*WORKER, "--home", "/data"]}),
    "a mailbox elsewhere": ("Cmd", {"command": [*WORKER[:-1], "/state/mailboxes/../../etc"]}),
    "another verb": ("Cmd", {"command": ["mdmt", "launcher"]}),
    "no verb": ("Cmd", {"command": ["mdmt"]}),
    "a library before all others": ("Env", {"environment": {"LD_PRELOAD": "/state/x.so"}}),
    "modules from elsewhere": ("Env", {"environment": {"PYTHONPATH": "/state"}}),
    "a library for OpenMP": ("Env", {"environment": {"OMP_TOOL_LIBRARIES": "/state/x.so"}}),
    "GPUs by the environment": ("Env", {"environment": {"NVIDIA_VISIBLE_DEVICES": "all"}}),
    "a variable without a value": ("Env", {"environment": ["PATH"]}),
    "another stack's label": ("Labels", {"labels": {"mdmt.stack": "other"}}),
    "the other role's label": ("Labels", {"labels": {"mdmt.role": "stage"}}),
    "a label of compose": ("Labels", {"labels": {"com.docker.compose.project": "mdmt"}}),
    "another folder to work in": ("WorkingDir", {"working_dir": "/state"}),
    "a health check, which is a command": ("Healthcheck", {"healthcheck": Healthcheck(test=["CMD", "id"])}),
    "a signal that it does not hear": ("StopSignal", {"stop_signal": "SIGSTOP"}),
    "a terminal": ("Tty", {"tty": True}),
    "standard input": ("Stdin", {"stdin_open": True}),
    "another platform": ("platform", {"platform": "linux/arm64"}),
    "options of the storage": ("StorageOpt", {"storage_opt": {"size": "1t"}}),
    "a domain name": ("Domainname", {"domainname": "x"}),
    "an address of the network card": ("MacAddress", {"mac_address": "02:42:ac:11:00:02"}),
    "block devices' weights": ("BlkioWeight", {"blkio_weight": 10}),
    "processors by number": ("CpusetCpus", {"cpuset_cpus": "0"}),
}  # fmt: skip


@pytest.mark.parametrize(("field", "spec"), SDK.values(), ids=SDK.keys())
def test_an_escape_through_the_sdk_is_refused_and_the_field_named(
    client: docker.DockerClient, engine: Engine, field: str, spec: dict[str, Any]
) -> None:
    asked = {"image": IMAGE, "command": WORKER, **spec}
    with pytest.raises(docker.errors.APIError) as refused:
        client.containers.create(**asked)
    assert refused.value.status_code == 403
    assert field in refused.value.explanation and "found" in refused.value.explanation and "allowed:" in refused.value.explanation
    assert engine.changes == []


def host(**fields: Any) -> dict[str, Any]:
    return RIGHT | {"HostConfig": {**RIGHT["HostConfig"], **fields}}


def text(body: dict[str, Any], old: str, new: str) -> str:
    changed = json.dumps(body).replace(old, new)
    assert changed != json.dumps(body)
    return changed


RAW: dict[str, Any] = {
    "a key in small letters": host(privileged=True),
    "a key in capitals": host(PRIVILEGED=True),
    "a key with a long s": host(CapAdd=[], UſernsMode="host"),
    "a key with a Kelvin sign": host(NetworKMode="host"),
    "a small key beside a right one": host(Privileged=False, privileged=True),
    "a key with a space behind it": host(**{"Privileged ": True}),
    "a key with a NUL in it": host(**{"Privileged\x00": True}),
    "true as a number": host(Privileged=1),
    "true as a text": host(Privileged="true"),
    "a host configuration in small letters": {**RIGHT, "hostconfig": {"Privileged": True}},
    "the same key twice": text(host(Privileged=False), '"Privileged": false', '"Privileged": false, "Privileged": true'),
    "the whole host configuration twice": text(RIGHT, '"Image"', '"HostConfig": {"Privileged": true}, "Image"'),
    "a key in escapes": text(host(Privileged=True), "Privileged", "\\u0050rivileged"),
    "a key twice, once in escapes": text(host(Privileged=False), '"Privileged"', '"\\u0050rivileged": true, "Privileged"'),
    "masked paths given, all shown": host(MaskedPaths=[]),
    "read-only paths given, none": host(ReadonlyPaths=[]),
    "an isolation of Windows": host(Isolation="process"),
    "another init": host(InitPath="/state/init"),
    "device rules": host(DeviceCgroupRules=["a *:* rwm"]),
    "a file for the container's id": host(ContainerIDFile="/etc/cron.d/x"),
    "a control group by name": host(Cgroup="container:postgres"),
    "annotations of the runtime": host(Annotations={"run.oci.keep_original_groups": "1"}),
    "kernel memory": host(KernelMemory=1),
    "a mount without a type": host(Mounts=[{"Source": "mdmt_state", "Target": "/state"}]),
    "a mount with options of a bind": host(
        Mounts=[{"Type": "volume", "Source": "mdmt_state", "Target": "/state", "BindOptions": {"Propagation": "rshared"}}]
    ),
    "a part of a volume": host(
        Mounts=[{"Type": "volume", "Source": "mdmt_state", "Target": "/state", "VolumeOptions": {"Subpath": "../.."}}]
    ),
    "an image mount": host(Mounts=[{"Type": "image", "Source": "postgres:15", "Target": "/state"}]),
    "a mount at a place that is another when shortened": host(
        Mounts=[{"Type": "volume", "Source": "mdmt_state", "Target": "/state/../etc"}]
    ),
    "a volume with a path in its name": host(Binds=["mdmt_state/../../..:/state"]),
    "a bind that ends in a line": host(Binds=["mdmt_state:/state\n"]),
    "an anonymous volume over the programs": {**RIGHT, "Volumes": {"/usr/local": {}}},
    "steps of a build": {**RIGHT, "OnBuild": ["RUN id"]},
    "another shell": {**RIGHT, "Shell": ["/bin/sh"]},
    "arguments in escapes of Windows": {**RIGHT, "ArgsEscaped": True},
    "a mailbox that ends in a line": {**RIGHT, "Cmd": [*WORKER[:-1], WORKER[-1] + "\n"]},
    "a command as a text": {**RIGHT, "Cmd": " ".join(WORKER)},
    "no command": {"Image": IMAGE},
    "a variable that ends in a line": {**RIGHT, "Env": ["OMP_NUM_THREADS\n=1"]},
    "a variable in digits of another script": {**RIGHT, "Env": ["MDMT_١=1"]},
    "a NUL in a value": {**RIGHT, "Env": ["MDMT_HOME=/state\x00LD_PRELOAD=x"]},
    "a number beyond all": host(Memory=1 << 80),
    "a number with a point": host(Memory=1e9),
    "not a number": text(host(Memory=7), "7", "NaN"),
    "depth without end": '{"HostConfig": ' * 5000,
    "two objects": json.dumps(RIGHT) * 2,
    "a list": [RIGHT],
    "UTF-16": json.dumps(RIGHT).encode("utf-16"),
    "a mark of the byte order": b"\xef\xbb\xbf" + json.dumps(RIGHT).encode(),
    "bytes that are no text": b"\xff\xfe{}",
    "nothing": "",
    "more than is read": json.dumps(RIGHT) + " " * (64 << 10),
}


@pytest.mark.parametrize("body", RAW.values(), ids=RAW.keys())
def test_an_escape_as_a_raw_body_is_refused(address: str, engine: Engine, body: Any) -> None:
    status, message = post(address, "/v1.45/containers/create", body)
    assert status in (400, 403, 413) and ("allowed:" in message or "the body" in message), message
    assert engine.changes == []


CALLS = {
    "a build": ("POST", "/v1.45/build"),
    "a build past a folder": ("POST", "/v1.45/containers/../build"),
    "a build past the version": ("POST", "/v1.45/../build"),
    "a build in escapes": ("POST", "/v1.45/containers/%2e%2e/build"),
    "two slashes": ("POST", "//containers/create"),
    "two slashes behind the version": ("POST", "/v1.45//containers/create"),
    "two versions": ("POST", "/v1.45/v1.45/containers/create"),
    "another kind of version": ("POST", "/v2/containers/create"),
    "a slash at the end": ("POST", "/containers/create/"),
    "capitals": ("POST", "/Containers/Create"),
    "an escaped letter": ("POST", "/containers/%63reate"),
    "a line in the path": ("POST", "/containers/create%0a"),
    "a platform": ("POST", "/containers/create?platform=linux/arm64"),
    "an empty platform": ("POST", "/containers/create?platform="),
    "a name that is a path": ("POST", "/containers/create?name=../../etc"),
    "a name with a slash": ("POST", "/containers/create?name=/mdmt-worker-0"),
    "a name of a service": ("POST", "/containers/create?name=mlflow"),
    "no name": ("POST", "/containers/create?name="),
    "two names": ("POST", "/containers/create?name=mdmt-worker-0&name=mlflow"),
    "a name that ends in a line": ("POST", "/containers/create?name=mdmt-worker-0%0a"),
    "a name as a part of the path": ("POST", "/containers/create;name=mlflow"),
    "a query that is none": ("POST", "/containers/create?name"),
    "a program in a container": ("POST", "/containers/c0ffee/exec"),
    "a terminal of a container": ("POST", "/containers/c0ffee/attach?stream=1"),
    "a new limit": ("POST", "/containers/c0ffee/update"),
    "a new name": ("POST", "/containers/c0ffee/rename?name=mlflow"),
    "files into a container": ("PUT", "/containers/c0ffee/archive?path=/"),
    "files out of a container": ("GET", "/containers/c0ffee/archive?path=/etc"),
    "a container and its links": ("DELETE", "/containers/c0ffee?link=1"),
    "a signal that stops a process": ("POST", "/containers/c0ffee/kill?signal=STOP"),
    "all containers away": ("POST", "/containers/prune"),
    "an image": ("POST", "/images/create?fromImage=alpine"),
    "an image away": ("DELETE", f"/images/{IMAGE}"),
    "all images": ("GET", "/images/json"),
    "another image": ("GET", "/images/postgres:15/json"),
    "another image past ours": ("GET", f"/images/{IMAGE}/../postgres:15/json"),
    "an image that is a call": ("GET", "/images/../containers/json?x=/json"),
    "a volume that binds": ("POST", "/volumes/create"),
    "volumes": ("GET", "/volumes"),
    "a network": ("POST", "/networks/create"),
    "a way into a network": ("POST", "/networks/mdmt_database/connect"),
    "a plug-in": ("POST", "/plugins/pull?remote=x"),
    "a swarm": ("POST", "/swarm/init"),
    "secrets": ("GET", "/secrets"),
    "the session of a build": ("POST", "/session"),
    "another protocol": ("POST", "/grpc"),
    "about the host": ("GET", "/info"),
    "what happens on the host": ("GET", "/events"),
    "the whole as it may be": ("OPTIONS", "*"),
    "a list with a filter of volumes": ("GET", '/containers/json?filters={"volume":["x"]}'),
    "a list with a filter that is none": ("GET", "/containers/json?filters=x"),
    "a list with filters as it was": ("GET", '/containers/json?filters={"label":{"mdmt.stack=other":true}}'),
    "a list of what was before": ("GET", "/containers/json?before=postgres"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "target"), CALLS.values(), ids=CALLS.keys())
def test_an_escape_as_a_path_or_a_query_is_refused(address: str, engine: Engine, method: str, target: str) -> None:
    target = target.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
    status, message = call(address, method, target, json.dumps(RIGHT), {"Content-Type": "application/json"})
    assert status in (400, 403), message
    assert message
    assert not any(made.method != "GET" or not made.path.endswith(("/version", "/json")) for made in engine.calls)
    assert not any(made.path.endswith("/containers/json") for made in engine.calls)


def test_what_is_asked_in_the_right_way_passes(address: str, engine: Engine) -> None:
    """So that the refusals above are of what is wrong with them."""
    assert post(address, "/v1.45/containers/create?name=mdmt-worker-0", RIGHT)[0] == 201
    assert post(address, "/v1.45/containers/create", host(Privileged=False, Memory=GIB))[0] == 201


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Origin": "http://x"}]
)
def test_a_page_in_a_browser_cannot_create(address: str, engine: Engine, headers: dict[str, str]) -> None:
    assert call(address, "POST", "/containers/create", json.dumps(RIGHT), headers)[0] in (400, 403)
    assert engine.changes == []


def test_a_second_request_hidden_behind_the_first_is_judged_too(address: str, engine: Engine) -> None:
    body = json.dumps(RIGHT)
    hidden = "POST /build HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    heads = (
        f"Content-Length: {len(body)}\r\n",
        "Transfer-Encoding: chunked\r\n",
        f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n",
        f"Content-Length: {len(body)}\r\nContent-Length: 0\r\n",
    )
    for head in heads:
        bodies = body + hidden, f"{len(body):x}\r\n{body}\r\n0\r\n\r\n{hidden}"
        for sent in bodies:
            answer = spoken(
                address, f"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n{sent}"
            )
            assert not any(status.startswith("2") for status in re.findall(r"^HTTP/1.1 (\d+)", answer, re.MULTILINE)[1:])
    assert {made.path for made in engine.changes} <= {"/v1.45/containers/create"}
    assert all(made["HostConfig"]["Privileged"] is False for made in engine.created)


def test_a_body_in_pieces_is_bounded_too(address: str, engine: Engine) -> None:
    pieces = "".join(f"{4096:x}\r\n{' ' * 4096}\r\n" for _ in range(20))
    answer = spoken(
        address,
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + pieces,
    )
    assert " 413 " in answer.splitlines()[0]
    assert engine.changes == []


def test_a_body_without_end_is_not_waited_for(address: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_SECONDS", 0.2)
    answer = spoken(
        address,
        "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Content-Length: 100\r\n\r\n{",
    )
    assert " 408 " in answer.splitlines()[0] and "did not end within 0.2 s" in answer


def test_the_value_of_a_variable_is_in_no_message(address: str, engine: Engine) -> None:
    for environment in (
        ["PASSWORD=canary"],
        ["canary"],
        "PASSWORD=canary",
        [{"canary": 1}],
        ["MLFLOW_TRACKING_PASSWORD=canary\x00"],
    ):
        status, message = post(address, "/containers/create", {**RIGHT, "Env": environment})
        assert status == 403 and ("canary" not in message or environment == ["canary"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["host", "/", "ALL", "container:x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KNOWN = {field.alias for part in (Asked, HostConfig) for field in part.model_fields.values()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.text(min_size=1, max_size=12).filter(lambda name: name not in KNOWN), value=VALUES, inside=st.booleans())
def test_an_unknown_field_is_refused(address: str, engine: Engine, field: str, value: Any, inside: bool) -> None:
    body = host(**{field: value}) if inside else {**RIGHT, field: value}
    status, message = post(address, "/containers/create", body)
    assert status == 403 and "no such field; known are" in message
    assert engine.changes == []


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_known_field_holds_what_reaches_the_engine_is_shut_in(address: str, engine: Engine, data: DataObject) -> None:
    engine.__init__(engine.socket)  # type: ignore[misc]
    inside = data.draw(st.dictionaries(st.sampled_from(sorted(map(str, KNOWN))), VALUES, max_size=3))
    outside = data.draw(st.dictionaries(st.sampled_from(sorted(map(str, KNOWN - {"HostConfig"}))), VALUES, max_size=2))
    status, message = post(address, "/containers/create", {**host(**inside), **outside})
    assert status in (201, 403), message
    assert len(engine.created) == (status == 201)
    for body in engine.created:
        assert_shut_in(body)


def assert_shut_in(body: dict[str, Any]) -> None:
    """Every door that a body could open is written down as closed, not left to the engine's defaults."""
    box = body["HostConfig"]
    assert body["User"] == "10001:10001" and body["Image"].startswith("sha256:") and body["Cmd"] in (WORKER, STAGE)
    assert box["CapDrop"] == ["ALL"] and box["SecurityOpt"] == ["no-new-privileges"] and box["ReadonlyRootfs"] is True
    assert not any(
        box[name] for name in ("Privileged", "CapAdd", "PidMode", "UTSMode", "UsernsMode", "DeviceRequests", "AutoRemove")
    )
    assert (box["IpcMode"], box["CgroupnsMode"], box["NetworkMode"]) == ("private", "private", "mdmt_units")
    assert 0 < box["Memory"] == box["MemorySwap"] <= 4 * GIB and 0 < box["PidsLimit"] <= 512
    assert 0 < box["NanoCpus"] <= 2_000_000_000 and 0 < box["ShmSize"] <= GIB
    assert body["Labels"]["mdmt.stack"] == "mdmt" and body["Labels"]["mdmt.role"] in ("worker", "stage")
    assert all(mount["Type"] == "volume" and mount["Source"] in ("mdmt_state", "mdmt_data") for mount in box["Mounts"])
    assert not {"Binds", "Devices", "VolumesFrom", "Entrypoint", "Runtime", "Volumes", "NetworkingConfig"} & {*body, *box}


def post(address: str, target: str, body: Any) -> tuple[int, str]:
    sent = body if isinstance(body, str | bytes) else json.dumps(body)
    return call(address, "POST", target, sent, {"Content-Type": "application/json"})


def call(address: str, method: str, target: str, body: str | bytes, headers: dict[str, str]) -> tuple[int, str]:
    caller = http.client.HTTPConnection(address, timeout=10)
    try:
        caller.request(method, target, body, headers)
        answer = caller.getresponse()
        return answer.status, json.loads(answer.read()).get("message", "")
    finally:
        caller.close()


def spoken(address: str, request: str) -> str:
    """What comes back for these very bytes."""
    name, _, port = address.partition(":")
    with socket.create_connection((name, int(port)), timeout=5) as line:
        line.sendall(request.encode())
        line.settimeout(2)
        heard = b""
        try:
            while piece := line.recv(65536):
                heard += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return heard.decode()
