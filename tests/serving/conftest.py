"""A tiny bundle on disk, and a client of a service that is ready with it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.readiness import LoadedBundle
from serving.settings import Settings
from tests.serving.tiny_bundle import loader, write_bundle

Client = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"), golden=3)


@contextmanager
def service(load: Callable[[], LoadedBundle], ready: bool = True, **settings: object) -> Iterator[TestClient]:
    """A client in the same process; `settings` change single fields."""
    app = create_app(Settings(**{"retry_seconds": 0.05, **settings}), load)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        if ready:
            wait_for(client, 200)
        yield client


@pytest.fixture(scope="session")
def client(bundle_folder: Path) -> Iterator[TestClient]:
    with service(loader(bundle_folder)) as client:
        yield client


def wait_for(client: TestClient, status: int) -> None:
    """Until /readyz answers with that status, a minute at most: a machine may be busy, and a version is first tried in a process."""
    deadline = time.monotonic() + 60
    while (answer := client.get("/readyz")).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.01)
