"""The client sends a key where one is set, and only then."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from serving.client import KEY, post_film


@pytest.fixture
def asked() -> object:
    """A server on loopback that answers with the headers it was asked with."""

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(dict(self.headers)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("key", ["", "mdmt_abc"])
def test_a_key_in_the_environment_is_sent_and_no_other(
    asked: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, key)
    film = tmp_path / "film.png"
    film.write_bytes(b"x")
    assert post_film(asked, film).get("Authorization") == (f"Bearer {key}" if key else None)
