"""Ready means: a bundle has answered its golden case."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cxr.manifest import NETWORK
from cxr.tasks import PROGNOSIS, Task
from serving.readiness import LoadedBundle, LoadError
from serving.settings import Settings
from tests.serving.conftest import service, wait_for
from tests.serving.test_refusals import PNG, assert_problem
from tests.serving.tiny_bundle import encoded, film, loader, write_bundle


def reason_after_attempts(load: Callable[[], LoadedBundle], attempts: int = 3) -> str:
    """What /readyz says once loading has failed that many times; the service must be alive and refuse predictions."""
    calls = 0

    def counted() -> LoadedBundle:
        nonlocal calls
        calls += 1
        return load()

    with service(counted, ready=False, retry_seconds=0.02) as client:
        deadline = time.monotonic() + 10
        while calls <= attempts:
            assert time.monotonic() < deadline, "loading was not tried again"
            time.sleep(0.01)
        assert client.get("/livez").json() == {"status": "alive"}
        refused = client.post("/predict", content=encoded(film()), headers=PNG)
        assert_problem(refused, 503, "not-ready")
        assert refused.headers["Retry-After"] == "1"
        assert "X-Model-Version" not in refused.headers
        assert_problem(client.get("/model"), 503, "not-ready")
        assert "mdmt_ready 0.0" in client.get("/metrics").text
        return str(assert_problem(client.get("/readyz"), 503, "not-ready")["detail"])


def test_a_registry_that_comes_back_makes_the_service_ready_by_itself(bundle_folder: Path) -> None:
    failing = True

    def load() -> LoadedBundle:
        if failing:
            raise LoadError("the registry does not answer")
        return loader(bundle_folder)()

    with service(load, ready=False, retry_seconds=0.02) as client:
        deadline = time.monotonic() + 10
        while "the registry does not answer" not in client.get("/readyz").text:
            assert time.monotonic() < deadline, client.get("/readyz").text
        failing = False
        wait_for(client, 200)
        assert client.post("/predict", content=encoded(film()), headers=PNG).status_code == 200


def test_a_slow_registry_delays_readiness_not_life(bundle_folder: Path) -> None:
    answers = threading.Event()

    def load() -> LoadedBundle:
        assert answers.wait(30)
        return loader(bundle_folder)()

    with service(load, ready=False) as client:
        assert client.get("/livez").status_code == 200
        assert "still being loaded" in client.get("/readyz").json()["detail"]
        answers.set()
        wait_for(client, 200)


def test_a_bundle_with_an_altered_file_is_never_served(bundle_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle_folder, tmp_path / "altered")
    graph = bytearray((folder / NETWORK).read_bytes())
    graph[-1] ^= 1
    (folder / NETWORK).write_bytes(graph)
    assert f"{NETWORK} was altered" in reason_after_attempts(loader(folder))


def test_a_bundle_whose_golden_case_comes_out_differently_is_never_served(tmp_path: Path) -> None:
    assert "golden case" in reason_after_attempts(loader(write_bundle(tmp_path, shift=0.01)))


def test_a_task_named_like_a_field_of_the_answer_is_never_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("tests.serving.tiny_bundle", fromlist=["x"]).TEMPERATURES, "lungs", 1.0)
    folder = write_bundle(tmp_path, (PROGNOSIS, Task("lungs", "A clash", ("a", "b"), ("", ""))))
    assert "lungs" in reason_after_attempts(loader(folder))


def test_an_unforeseen_failure_to_load_is_named_without_its_text() -> None:
    def load() -> LoadedBundle:
        raise ZeroDivisionError("postgresql://user:password@db")

    reason = reason_after_attempts(load)
    assert "ZeroDivisionError" in reason
    assert "password" not in reason


def test_the_model_page_tells_what_is_served(client: TestClient) -> None:
    body = client.get("/model").json()
    assert (body["name"], body["version"], body["alias"]) == ("mdmt", "7", "champion")
    assert body["pipeline"]["size"] == 64
    assert body["tasks"][0]["temperature"] == 1.5
    assert body["tasks"][1]["ranges"][3] == [14, 18]
    assert body["lineage"] == {"run": "r1"}
    assert body["signed_by"].startswith("unsigned")


def test_settings_come_from_the_environment_and_contradictions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one:5000")
    assert Settings().tracking_uri == "http://one:5000"
    monkeypatch.setenv("MDMT_TRACKING_URI", "http://two:5000")
    monkeypatch.setenv("MDMT_ALIAS", "challenger")
    assert (Settings().tracking_uri, Settings().alias) == ("http://two:5000", "challenger")
    with pytest.raises(ValueError, match="raise max_buffered_bytes"):
        Settings(max_bytes=2**30)
