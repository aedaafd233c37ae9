"""Grounds on SQLite, on PostgreSQL behind an MLflow server, and behind a proxy that misbehaves on request."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from services.tracking.server import SETTINGS
from tests.journeys.under_fire.fault_proxy import FaultProxy
from tests.journeys.under_fire.ground import Ground, film_store
from tests.postgres import PostgresServer, free_port, postgres_server  # noqa: F401 - a fixture
from training.tracking import Tracking, default_uri


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Chance with a seed that a failing test shows; MDMT_SEED repeats it."""
    seed = int(os.environ.get("MDMT_SEED", "20261123"))
    request.node.user_properties.append(("seed", seed))
    sys.stdout.write(f"MDMT_SEED={seed}\n")
    return random.Random(seed)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_store(tmp_path_factory.mktemp("films") / "noise")


@pytest.fixture
def new_ground(new_home: Callable[[], Path], films: Path) -> Callable[[], Ground]:
    """Makes grounds on a SQLite file each."""

    def make() -> Ground:
        home = new_home()
        return Ground(home, Tracking(default_uri(home), home), films)

    return make


class MlflowServer:
    """A tracking server that can be stopped, killed and started again on the same port."""

    def __init__(self, store: str, artifacts: Path, log: Path) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--artifacts-destination", str(artifacts),
            "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers a query (not only /health: that needs no database)."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=os.environ | SETTINGS, start_new_session=True
            )
        give_up = time.monotonic() + 120
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                asked = requests.post(f"{self.uri}/api/2.0/mlflow/experiments/search", json={"max_results": 1}, timeout=5)
            except requests.RequestException:
                time.sleep(0.2)
                continue
            if asked.ok:
                return
        raise RuntimeError(f"MLflow does not start:\n{self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL to the server and its own worker."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()


@pytest.fixture
def sqlite_server(empty_store: Path, tmp_path: Path) -> Iterator[MlflowServer]:
    """An MLflow server over a SQLite file of its own."""
    store = tmp_path / "server.db"
    store.write_bytes(empty_store.read_bytes())
    server = MlflowServer(f"sqlite:///{store}", tmp_path / "artifacts", tmp_path / "server.log")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def postgres_store(postgres_server: PostgresServer) -> str:  # noqa: F811
    return postgres_server.new_database()


@pytest.fixture
def postgres_mlflow(postgres_store: str, tmp_path: Path) -> Iterator[MlflowServer]:
    """An MLflow server over PostgreSQL; the database is that of the module, the artifacts are the test's."""
    server = MlflowServer(postgres_store, tmp_path / "artifacts", tmp_path / "server.log")
    yield server
    server.kill()


@pytest.fixture
def proxy(sqlite_server: MlflowServer) -> Iterator[FaultProxy]:
    """Stands before the SQLite server."""
    with FaultProxy(sqlite_server.port) as proxy:
        yield proxy


@pytest.fixture
def behind(tmp_path: Path, films: Path) -> Callable[..., Ground]:
    """Makes grounds that use a server: `uri` for the test itself, `through` for the workers."""

    def make(uri: str, claims_uri: str = "", through: str = "") -> Ground:
        home = tmp_path / "home"
        return Ground(home, Tracking(uri, home), films, claims_uri, through)

    return make
