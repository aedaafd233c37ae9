"""Ways out of a container, each refused before the engine hears of it: through the SDK, as raw bodies, as paths and as queries."""

import http.client
import json
import re
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

import docker
from services.launcher import app
from services.launcher.asked import Asked, HostConfig
from tests.services.launcher.asked import GIB, STAGE, WORKER
from tests.services.launcher.escapes import CALLS, RAW, RIGHT, SDK, host
from tests.services.launcher.stand_in import IMAGE, Engine


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


@pytest.mark.parametrize("body", RAW.values(), ids=RAW.keys())
def test_an_escape_as_a_raw_body_is_refused(address: str, engine: Engine, body: Any) -> None:
    status, message = post(address, "/v1.45/containers/create", body)
    assert status in (400, 403, 413) and ("allowed:" in message or "the body" in message), message
    assert engine.changes == []


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
