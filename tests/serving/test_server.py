"""The real server on loopback: what sockets show and an in-process client does not."""

import http.client
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from serving.app import create_app
from serving.server import running
from serving.settings import MIB, Settings
from tests.serving.test_under_load import process
from tests.serving.tiny_bundle import encoded, film, loader

LIMIT = 1 * MIB
IDLE = 2.0  # seconds: long enough that a busy machine does all that has to happen before it
HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def address(bundle_folder: Path) -> Iterator[tuple[str, int]]:
    settings = Settings(max_bytes=LIMIT, workers=2, queue=6, body_idle_seconds=IDLE, drain_bytes=32 * MIB)
    with running(settings, loader(bundle_folder)) as url:
        parts = urlsplit(url)
        address = (str(parts.hostname), int(parts.port or 0))
        while ask(address, "GET", "/readyz")[0] != 200:
            time.sleep(0.01)
        yield address


def ask(
    address: tuple[str, int], method: str, path: str, body: object = None, **headers: str
) -> tuple[int, dict[str, object], object]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers
    finally:
        connection.close()


def uploads_in_flight(address: tuple[str, int]) -> float:
    """What the service says of itself: cheaper to ask, again and again, than a film is to answer."""
    status, page = exchange(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
    assert status == 200
    return float(next(line.split()[1] for line in page.decode().splitlines() if line.startswith("mdmt_uploads_in_flight ")))


def exchange(address: tuple[str, int], head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send that, then read until the server closes or the whole answer is there."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head.encode() + b"\r\n" + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


def test_films_are_answered_over_http_and_at_once_as_alone(address: tuple[str, int]) -> None:
    def prognosis(seed: int) -> object:
        status, body, headers = ask(address, "POST", "/predict", encoded(film(seed=seed)), Content_Type="image/png")
        assert status == 200
        assert headers["X-Model-Version"] == "7"
        return body["prognosis"]

    alone = [prognosis(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(prognosis, range(8))) == alone


def test_a_sender_that_reads_only_after_sending_all_still_sees_the_413(address: tuple[str, int]) -> None:
    status, body, _ = ask(address, "POST", "/predict", bytes(20 * MIB), Content_Type="image/png")
    assert (status, body["type"]) == (413, "/problems/file-too-large")


def test_a_chunked_body_over_the_limit_is_refused_while_it_comes_in(address: tuple[str, int]) -> None:
    pieces = (bytes(64 * 1024) for _ in range(160))
    status, body, _ = ask(address, "POST", "/predict", pieces, Content_Type="image/png")
    assert (status, body["type"]) == (413, "/problems/file-too-large")


def test_a_huge_announced_body_is_refused_before_a_byte_of_it_is_sent(address: tuple[str, int]) -> None:
    started = time.monotonic()
    head = f"{HEAD}Content-Length: {600 * MIB}\r\nExpect: 100-continue\r\n"
    status, body = exchange(address, head)
    assert (status, json.loads(body)["type"]) == (413, "/problems/file-too-large")
    assert time.monotonic() - started < 1


def test_draining_a_refused_body_is_bounded(address: tuple[str, int]) -> None:
    sent = 0
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(f"{HEAD}Content-Length: {600 * MIB}\r\n\r\n".encode())
        try:
            while sent < 600 * MIB:
                sent += connection.send(bytes(MIB))
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert sent < 64 * MIB


@pytest.mark.parametrize("announced", [True, False])
def test_of_six_hundred_mebibytes_no_more_than_sixty_five_are_read(bundle_folder: Path, announced: bool) -> None:
    app, read = create_app(Settings(), loader(bundle_folder)), []

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        async def received() -> Message:
            message = await receive()
            read.append(len(message.get("body", b"")))
            return message

        await app(scope, received if scope["type"] == "http" else receive, send)

    config = uvicorn.Config(counted, port=0, log_config=None)
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    while ask(listener.getsockname(), "GET", "/readyz")[0] != 200:
        time.sleep(0.05)
    read.clear()
    chunk = bytes(MIB) if announced else f"{MIB:x}\r\n".encode() + bytes(MIB) + b"\r\n"
    length = f"Content-Length: {600 * MIB}" if announced else "Transfer-Encoding: chunked"
    with socket.create_connection(listener.getsockname(), timeout=30) as connection:
        connection.sendall(f"{HEAD}{length}\r\n\r\n".encode())
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(600):
                connection.sendall(chunk)
    assert 32 * MIB < sum(read) <= 65 * MIB
    server.should_exit = True
    thread.join(20)


def test_uploads_that_stop_coming_harm_nobody_and_end_with_408(address: tuple[str, int]) -> None:
    with ThreadPoolExecutor(8) as pool:
        half = f"{HEAD}Content-Length: 1000\r\n"
        waiting = [pool.submit(exchange, address, half, b"\x89PNG") for _ in range(8)]
        deadline = time.monotonic() + 0.8 * IDLE
        while uploads_in_flight(address) < 8:
            assert time.monotonic() < deadline, "eight uploads that stopped are not eight uploads in flight"
        assert ask(address, "POST", "/predict", encoded(film()), Content_Type="image/png")[0] == 200
        assert [ask(address, "GET", path)[0] for path in ("/livez", "/readyz")] == [200, 200]
        assert {result.result()[0] for result in waiting} == {408}
    assert ask(address, "POST", "/predict", encoded(film()), Content_Type="image/png")[0] == 200


def test_a_sender_that_goes_away_harms_nobody(address: tuple[str, int]) -> None:
    for _ in range(10):
        with socket.create_connection(address) as connection:
            connection.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n".encode() + b"\x89PNG")
    deadline = time.monotonic() + 0.8 * IDLE  # before any time-out of the server frees the places
    while ask(address, "POST", "/predict", encoded(film()), Content_Type="image/png")[0] != 200:
        assert time.monotonic() < deadline, "the places of senders that went away are still taken"


def test_a_process_tells_its_port_logs_json_and_ends_on_sigterm_despite_a_half_sent_upload(bundle_folder: Path) -> None:
    with process(bundle_folder, subprocess.PIPE, body_idle_seconds=1) as (service, address):
        assert ask(address, "GET", "/readyz", x_request_id="first")[0] == 200
        limits = Path(f"/proc/{service.pid}/limits").read_text().splitlines()
        assert next(line.split()[4:6] for line in limits if line.startswith("Max core")) == ["0", "0"], (
            "a core file would hold films"
        )
        with socket.create_connection(address) as half:
            half.sendall(f"{HEAD}Content-Length: 1000\r\n\r\n".encode())
            assert ask(address, "GET", "/livez")[0] == 200
            started = time.monotonic()
            service.send_signal(signal.SIGTERM)
            _, log = service.communicate(timeout=20)
        assert time.monotonic() - started < 8
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [(line["status"], line["route"]) for line in lines if line.get("request_id") == "first"] == [(200, "/readyz")]
