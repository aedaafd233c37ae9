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

import pytest
from mlflow import MlflowClient

from cxr.manifest import NETWORK, BundleError
from serving import registry as registry_module
from serving.readiness import LoadError
from serving.registry import registry_source
from serving.settings import Settings
from tests.serving.conftest import service
from tests.serving.test_refusals import PNG
from tests.serving.tiny_bundle import encoded, film, write_bundle

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
def server(tmp_path: Path) -> Iterator[str]:
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
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)


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
    server: str, bundle_folder: Path, tmp_path: Path
) -> None:
    client = MlflowClient(tracking_uri=server, registry_uri=server)
    run = client.create_run(client.create_experiment("bundles"))
    client.log_artifacts(run.info.run_id, str(bundle_folder), "bundle")
    client.create_registered_model("mdmt")
    client.create_model_version("mdmt", f"{run.info.artifact_uri}/bundle", run.info.run_id)
    source = registry_source(Settings(tracking_uri=server, cache_dir=tmp_path / "cache"))
    with pytest.raises(LoadError, match="register one and set the alias"):
        source.load()
    client.set_registered_model_alias("mdmt", "champion", "1")
    for _ in range(2):
        command = [sys.executable, "-c", ALONE, server, str(tmp_path / "cache")]
        started = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        assert started.stdout.split() == ["1", "False"]
