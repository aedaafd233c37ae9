"""The client sends a key where one is set, and only then; it waits where it is told to, and says what it was refused with."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from serving.client import KEY, Refused, ask, post_film


class Server(HTTPServer):
    """On loopback; answers with the headers it was asked with, after the refusals that it was told."""

    refusals: list[tuple[int, dict[str, str], bytes]]  # status, headers, body


class Answers(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        whole = (200, {}, json.dumps(dict(self.headers)).encode())
        status, headers, body = self.server.refusals.pop(0) if self.server.refusals else whole
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Answers)
    server.refusals = []
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def asked(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("key", ["", "mdmt_abc"])
def test_a_key_in_the_environment_is_sent_and_no_other(
    asked: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, key)
    film = tmp_path / "film.png"
    film.write_bytes(b"x")
    assert post_film(asked, film).get("Authorization") == (f"Bearer {key}" if key else None)


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_asks_for_patience_is_asked_again(server: Server, asked: str, status: int) -> None:
    server.refusals = [(status, {"Retry-After": "0"}, b"{}")] * 2
    assert ask(asked, "/predict", b"x")["Content-Length"] == "1"
    assert not server.refusals


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (503, {}, b'{"title": "No model", "detail": "none"}', "503 No model: none"),
        (503, {"Retry-After": "3600"}, b'{"title": "No model", "detail": "none"}', "503 No model: none"),
        (422, {"Retry-After": "0"}, b'{"title": "No lungs", "detail": "none"}', "422 No lungs: none"),
        (502, {}, b"<html>", "502 Bad Gateway: not an answer of this service"),
    ],
)
def test_a_refusal_is_said_at_once(
    server: Server, asked: str, status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    server.refusals = [(status, headers, body)]
    with pytest.raises(Refused, match=said):
        ask(asked, "/predict", b"x")
