"""An engine that starts nothing: a real HTTP server on a Unix socket that keeps what it is told and writes down every call."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import SHUT_RDWR
from socket import socket as Socket
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

IMAGE, IDENTITY = "mdmt-unit:test", "sha256:" + "a" * 64
FOREIGN = {"postgres": {}, "mdmt-trainer-1": {"mdmt.stack": "mdmt"}, "other": {"mdmt.stack": "other", "mdmt.role": "worker"}}


@dataclass
class Call:
    """One request as it reached the engine."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any


@dataclass
class Engine:
    """Containers by full id; those of `FOREIGN` are not the launcher's."""

    socket: Path
    version: str = "1.45"
    internal: bool = True
    calls: list[Call] = field(default_factory=list)
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        for number, (name, labels) in enumerate(FOREIGN.items()):
            self.add(f"{number:064x}", name, labels)

    def add(self, identity: str, name: str, labels: dict[str, str], **body: Any) -> None:
        self.containers[identity] = {"Id": identity, "Name": f"/{name}", "State": {"Running": False}} | {
            "Config": {"Labels": labels, "Tty": False, **body}
        }

    def find(self, name: str) -> dict[str, Any] | None:
        wanted = (one for one in self.containers.values() if one["Id"].startswith(name) or one["Name"] == f"/{name}")
        return next(wanted, None)

    @property
    def created(self) -> list[dict[str, Any]]:
        return [call.body for call in self.calls if call.path.endswith("/containers/create")]

    @property
    def changes(self) -> list[Call]:
        return [call for call in self.calls if call.method != "GET"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def do(self) -> None:
        target, engine = urlsplit(self.path), self.server.engine
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = Call(self.command, target.path, parse_qs(target.query), json.loads(body) if body else None)
        engine.calls.append(call)
        path = re.sub(r"^/v1\.[0-9]+", "", target.path)
        if path == "/_ping":
            return self.say(200, b"OK", "text/plain")
        if path == "/version":
            return self.say(200, {"ApiVersion": engine.version, "MinAPIVersion": "1.24", "KernelVersion": "secret"})
        if path == f"/images/{IMAGE}/json":
            return self.say(200, {"Id": IDENTITY})
        if path.startswith("/networks/"):
            return self.say(200, {"Internal": engine.internal})
        if path == "/containers/json":
            listed = [{"Id": one["Id"], "Labels": one["Config"]["Labels"]} for one in engine.containers.values()]
            return self.say(200, listed)
        if path == "/containers/create":
            identity = f"{0xC0FFEE + len(engine.containers):064x}"
            engine.add(identity, call.query.get("name", [identity])[0], call.body["Labels"])
            return self.say(201, {"Id": identity, "Warnings": []})
        return self.container(engine, *path.removeprefix("/containers/").partition("/")[::2])

    def container(self, engine: Engine, name: str, what: str) -> None:
        found = engine.find(name)
        if found is None:
            return self.say(404, {"message": f"No such container: {name}"})
        if what == "json":
            return self.say(200, found)
        if what == "wait":
            return self.wait(engine)
        if what == "logs":
            return self.logs()
        if self.command == "DELETE":
            del engine.containers[found["Id"]]
        return self.say(204)

    def wait(self, engine: Engine) -> None:
        """Headers at once, the body when the container ends, as the engine does; notices when nobody listens any more."""
        self.begin()
        while not engine.ended.wait(0.02):
            try:
                self.connection.setblocking(False)
                gone = self.connection.recv(1) == b""
            except BlockingIOError:
                gone = False
            finally:
                self.connection.setblocking(True)
            if gone:
                engine.left.set()
                return
        self.chunk(b'{"StatusCode":0}')
        self.chunk(b"")

    def logs(self) -> None:
        self.begin("application/vnd.docker.multiplexed-stream")
        for line in (b"one\n", b"two\n"):
            self.chunk(b"\x01\0\0\0" + len(line).to_bytes(4, "big") + line)
            time.sleep(0.3)
        self.chunk(b"")

    def begin(self, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def say(self, status: int, answer: Any = None, kind: str = "application/json") -> None:
        data = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_POST = do_DELETE = do  # noqa: N815


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    engine: Engine
    connections: list[Socket]


@contextmanager
def running(socket: Path) -> Iterator[Engine]:
    """The engine on that socket, for the length of a `with`."""
    socket.unlink(missing_ok=True)
    server = _Server(str(socket), _Handler)
    server.engine, server.connections = Engine(socket), []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.engine
    finally:
        server.engine.ended.set()
        server.shutdown()
        server.server_close()
        for connection in server.connections:
            with suppress(OSError):  # closed by now
                connection.shutdown(SHUT_RDWR)
        thread.join()
