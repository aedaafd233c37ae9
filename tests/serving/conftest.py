"""A tiny bundle on disk, and a client of a service that is ready with it."""

import shutil
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
from tests.serving.versions import Shelf, settings_for, version

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


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Versions 1 and 2, which answer differently."""
    root = tmp_path_factory.mktemp("good")
    return [version(root / "1", 1.5), version(root / "2", 4.0)]


@pytest.fixture(scope="session")
def tried(tmp_path_factory: pytest.TempPathFactory, good: list[Path]) -> Path:
    """A cache in which both have had their first run."""
    root = tmp_path_factory.mktemp("tried")
    shelf = Shelf(settings_for(root))
    for number, path in enumerate(good, start=1):
        shelf.put(str(number), path)
        shelf.alias = str(number)
        shelf.source().load()
    shelf.alias = "1"
    shelf.source().load()
    return root / "cache"


@pytest.fixture
def tried_before(tmp_path: Path, tried: Path) -> None:
    """The service of `settings_for(tmp_path)` knows both."""
    shutil.copytree(tried, tmp_path / "cache")


def wait_for(client: TestClient, status: int) -> None:
    """Until /readyz answers with that status, a minute at most: a machine may be busy, and a version is first tried in a process."""
    deadline = time.monotonic() + 60
    while (answer := client.get("/readyz")).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.01)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
