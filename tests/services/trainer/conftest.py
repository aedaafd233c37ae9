"""A phantom that all tests of the service look at, and a service whose stages wait."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.trainer.settings import Settings
from tests.services.trainer.ground import PHANTOM, service, until, wait_for_ever
from training.data.cohorts.phantom import generate
from training.tracking import default_uri


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated once; nobody writes there."""
    data = tmp_path_factory.mktemp("phantom")
    generate(data, PHANTOM, workers=1)
    return data


@pytest.fixture
def settings(new_home: Callable[[], Path]) -> Settings:
    home = new_home()
    return Settings(
        home=home, tracking_uri=default_uri(home), slots=2, retry_seconds=0.2, heartbeat_seconds=0.3, stage_attempts=2
    )


@pytest.fixture
def waiting(settings: Settings) -> Iterator[TestClient]:
    """A service whose U-Net is never done."""
    with service(settings, wait_for_ever) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client
