"""Registry → bundle, against a real MLflow registry in a temporary SQLite database."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient

from cxr.manifest import NETWORK, BundleError
from serving import registry as registry_module
from serving.client import post_film, wait_until_ready
from serving.readiness import LoadError
from serving.registry import registry_source
from serving.settings import Settings
from tests.serving.conftest import service
from tests.serving.test_refusals import PNG
from tests.serving.tiny_bundle import encoded, film, write_bundle

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path) -> tuple[MlflowClient, str]:
    """Version 1, `champion`, is the artifacts of a run; version 2 fails its golden case; version 3 is a logged model."""
    root = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{root / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.create_experiment("bundles", artifact_location=(root / "artifacts").as_uri())
    client.create_registered_model("mdmt")
    for folder in (bundle_folder, write_bundle(root / "broken", shift=0.5, golden=3)):
        run = client.create_run(experiment)
        client.log_artifacts(run.info.run_id, str(folder), "bundle")
        client.create_model_version("mdmt", f"{run.info.artifact_uri}/bundle", run.info.run_id)
    model = client.create_logged_model(experiment, "bundle", source_run_id=run.info.run_id)
    client.log_model_artifacts(model.model_id, str(bundle_folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.create_model_version("mdmt", model.artifact_location, run.info.run_id, model_id=model.model_id)
    for number, alias in enumerate(("champion", "broken", "logged"), start=1):
        client.set_registered_model_alias("mdmt", alias, str(number))
    return client, uri


def test_the_version_behind_the_alias_is_downloaded_verified_and_served(
    registry: tuple[MlflowClient, str], tmp_path: Path
) -> None:
    load = registry_source(Settings(tracking_uri=registry[1], cache_dir=tmp_path / "cache"))
    with service(load) as client:
        body = client.post("/predict", content=encoded(film()), headers=PNG).json()
    assert body["model"]["version"] == "1"
    assert body["model"]["alias"] == "champion"


def test_a_version_is_downloaded_once_and_again_only_if_the_copy_was_damaged(
    registry: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = []
    original = registry_module.fetched
    monkeypatch.setattr(registry_module, "fetched", lambda *given: downloads.append(given) or original(*given))
    load = registry_source(Settings(tracking_uri=registry[1], cache_dir=tmp_path)).load
    digests = {load().bundle.digest, load().bundle.digest}
    (cached,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert len(downloads) == 1
    (cached / NETWORK).write_bytes(b"damaged")
    digests.add(load().bundle.digest)
    assert len(downloads) == 2
    assert len(digests) == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [cached.name]


def test_a_version_made_from_a_logged_model_is_the_same_bundle(registry: tuple[MlflowClient, str], tmp_path: Path) -> None:
    both = [
        registry_source(Settings(tracking_uri=registry[1], cache_dir=tmp_path, alias=alias)).load()
        for alias in ("champion", "logged")
    ]
    assert [loaded.version for loaded in both] == ["1", "3"]
    assert both[0].bundle.digest == both[1].bundle.digest


def test_a_missing_alias_and_a_missing_model_are_named(registry: tuple[MlflowClient, str], tmp_path: Path) -> None:
    for change in ({"alias": "nobody"}, {"model_name": "nothing"}):
        with pytest.raises(LoadError, match="register one and set the alias"):
            registry_source(Settings(tracking_uri=registry[1], cache_dir=tmp_path, **change)).load()


def test_a_version_that_fails_its_golden_case_in_a_process_of_its_own_never_gets_into_this_one(
    registry: tuple[MlflowClient, str], tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="golden case") as refused:
        registry_source(Settings(tracking_uri=registry[1], cache_dir=tmp_path, alias="broken")).load()
    assert refused.value.kind == "golden"
    assert list(tmp_path.iterdir()) == []


def test_a_registry_that_does_not_answer_is_a_reason_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(LoadError, match="does not answer") as failure:
        registry_source(Settings(tracking_uri="http://127.0.0.1:9", cache_dir=tmp_path)).load()
    assert "127.0.0.1" not in str(failure.value)


@pytest.fixture
def server(tmp_path: Path) -> Iterator["Server"]:
    """A real MLflow server on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/m.db", "--workers", "1",
        "--artifacts-destination", str(tmp_path / "artifacts"), "--port", str(port),
    ]  # fmt: skip
    url, quiet = f"http://127.0.0.1:{port}", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with subprocess.Popen(command, env=environment, start_new_session=True, **quiet) as process:
        try:
            for _ in range(600):
                with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2):
                    break
                time.sleep(0.2)
            yield Server(url, process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class Server(NamedTuple):
    """Where it answers, and what to kill."""

    url: str
    process: subprocess.Popen[bytes]

    def register(self, folder: Path) -> MlflowClient:
        client = MlflowClient(tracking_uri=self.url, registry_uri=self.url)
        run = client.create_run(client.create_experiment("bundles"))
        client.log_artifacts(run.info.run_id, str(folder), "bundle")
        client.create_registered_model("mdmt")
        client.create_model_version("mdmt", f"{run.info.artifact_uri}/bundle", run.info.run_id)
        return client

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


ALONE = """
import sys
from pathlib import Path
from serving.registry import registry_source
from serving.settings import Settings
loaded = registry_source(Settings(tracking_uri=sys.argv[1], cache_dir=Path(sys.argv[2]))).load()
print(loaded.version, "mlflow" in sys.modules)
"""


@pytest.mark.slow
def test_over_http_neither_a_cold_start_nor_a_warm_one_has_the_mlflow_client_in_its_process(
    server: Server, bundle_folder: Path, tmp_path: Path
) -> None:
    client = server.register(bundle_folder)
    source = registry_source(Settings(tracking_uri=server.url, cache_dir=tmp_path / "cache"))
    with pytest.raises(LoadError, match="register one and set the alias"):
        source.load()
    client.set_registered_model_alias("mdmt", "champion", "1")
    for _ in range(2):
        command = [sys.executable, "-c", ALONE, server.url, str(tmp_path / "cache")]
        started = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        assert started.stdout.split() == ["1", "False"]


@pytest.mark.slow
def test_a_service_whose_registry_died_goes_on_and_a_new_one_starts_from_the_verified_copy_within_thirty_seconds(
    server: Server, bundle_folder: Path, tmp_path: Path
) -> None:
    server.register(bundle_folder).set_registered_model_alias("mdmt", "champion", "1")
    settings = Settings(tracking_uri=server.url, cache_dir=tmp_path / "cache", poll_seconds=0.2)
    data = encoded(film())
    registry_source(settings).load()  # fetched and tried, however long a busy machine takes for that
    with service(registry_source(settings), **settings.model_dump(exclude={"retry_seconds"})) as client:
        before = client.post("/predict", content=data, headers=PNG).json()
        server.kill()
        assert client.post("/admin/reload").json()["type"] == "/problems/registry-away"
        time.sleep(1)  # some looks at nobody
        after = client.post("/predict", content=data, headers=PNG).json()
        assert (after["model"], after["prognosis"]) == (before["model"], before["prognosis"])
        assert client.get("/readyz").status_code == 200
    command = [sys.executable, "-m", "serving", "--port", "0"]
    own = {"MDMT_TRACKING_URI": server.url, "MDMT_CACHE_DIR": str(tmp_path / "cache")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        command[-1] = str(free.getsockname()[1])
    started = time.monotonic()
    with subprocess.Popen(command, env=os.environ | own, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_ready(f"http://127.0.0.1:{command[-1]}", 30)
            seconds = time.monotonic() - started
            (tmp_path / "film.png").write_bytes(data)
            answer = post_film(f"http://127.0.0.1:{command[-1]}", tmp_path / "film.png")
        finally:
            process.kill()
    assert (answer["model"], answer["prognosis"]) == (before["model"], before["prognosis"])
    assert seconds <= 30
    print(f"ready {seconds:.1f} s after its start without a registry")  # noqa: T201 - shown with -s
