"""A launcher that listens, the engine behind it, and the SDK in front of it."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import docker
from services.launcher.server import configuration
from services.launcher.settings import Settings
from tests.services.launcher import stand_in


@contextmanager
def launcher(settings: Settings) -> Iterator[str]:
    """Its address, host:port."""
    server = uvicorn.Server(configuration(settings, "127.0.0.1", 0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(5)


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # a short path: a socket's has at most 107 characters
        yield Path(folder) / "engine.sock"


@pytest.fixture(scope="module")
def shared_engine(socket: Path) -> Iterator[stand_in.Engine]:
    with stand_in.running(socket) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: stand_in.Engine) -> stand_in.Engine:
    shared_engine.__init__(shared_engine.socket)  # type: ignore[misc]
    return shared_engine


@pytest.fixture(scope="module")
def address(shared_engine: stand_in.Engine) -> Iterator[str]:
    settings = Settings(unit_image=stand_in.IMAGE, launcher_socket=shared_engine.socket, unit_cpus=2, launcher_containers=3)
    with launcher(settings) as address:
        yield address


@pytest.fixture(scope="module")
def connect() -> Iterator[Callable[[str], docker.DockerClient]]:
    clients = []

    def client(address: str, **options: Any) -> docker.DockerClient:
        clients.append(docker.DockerClient(base_url=f"tcp://{address}", **options))
        return clients[-1]

    yield client
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def client(address: str, connect: Callable[[str], docker.DockerClient]) -> docker.DockerClient:
    return connect(address)
