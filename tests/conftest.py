"""A real MLflow store for the tests that need one, created once and copied for each module; and silence."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TRACKING = "MLFLOW_TRACKING_URI"


@pytest.fixture(scope="module", autouse=True)
def _tracking_of_one_module() -> Iterator[None]:
    """MLflow's client writes the server that it is told into the environment, where the next module's commands would look for it."""
    before = os.environ.pop(TRACKING, None)
    yield
    os.environ.pop(TRACKING, None)
    if before is not None:
        os.environ[TRACKING] = before


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite store; its tables take seconds to create."""
    from training.tracking import Tracking, default_uri

    home = tmp_path_factory.mktemp("store")
    Tracking(default_uri(home), home)
    return home / "mlflow.db"


@pytest.fixture(scope="module")
def new_home(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes homes with an empty store of their own."""

    def make() -> Path:
        home = tmp_path_factory.mktemp("home")
        shutil.copy(empty_store, home / "mlflow.db")
        return home

    return make


@pytest.fixture
def silent() -> Iterator[None]:
    """pydicom logs every oddity it meets; thousands of damaged files would fill the report."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
