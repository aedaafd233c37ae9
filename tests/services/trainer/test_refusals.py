"""What the training service does not take, and how it says so; and what it says while MLflow is away."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as tries
from hypothesis import strategies as st

from services.trainer.settings import Settings
from tests.services.trainer.ground import recipe_on, service, submission, until, wait_for_ever
from training.tracking import default_uri

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: nothing that is refused is ever looked for in it."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def client(new_home: Callable[[], Path], data: Path) -> Iterator[TestClient]:
    home = new_home()
    settings = Settings(home=home, tracking_uri=default_uri(home), data=data, max_body_bytes=20_000)
    with service(settings, wait_for_ever) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client


@pytest.fixture(scope="module")
def fields(data: Path) -> dict[str, Any]:
    return recipe_on(data).model_dump(mode="json")


def refusal(client: TestClient, body: Any, status: int, code: str) -> dict[str, Any]:
    answer = client.post("/protocols", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem: dict[str, Any] = answer.json()
    assert (problem["code"], problem["status"], problem["type"]) == (code, status, f"/problems/{code}")
    assert client.get("/protocols").json() == []
    return problem


def fields_named(problem: dict[str, Any]) -> set[str]:
    return {error["field"] for error in problem["errors"]}


def test_a_recipe_with_missing_and_unknown_fields_is_told_which(client: TestClient, fields: dict[str, Any]) -> None:
    wrong = {key: value for key, value in fields.items() if key != "schemes"} | {"epocs": 3}
    assert fields_named(refusal(client, {"recipe": wrong}, 422, "invalid-recipe")) == {"schemes", "epocs"}
    deep = fields | {"training": {"max_epochs": 0, "patiance": 3}}
    named = fields_named(refusal(client, {"recipe": deep}, 422, "invalid-recipe"))
    assert named == {"training.max_epochs", "training.patiance"}
    nobody = fields | {"headline": "weather"}
    assert "weather" in refusal(client, {"recipe": nobody}, 422, "invalid-recipe")["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "../../etc"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"registered_name": "x' or 1=1"}, "registered_name"),
        ({"segmenter": {"pairs": "../masks", "preset": "smoke"}}, "segmenter.pairs"),
        ({"segmenter": {"pairs": "/etc", "preset": "smoke"}}, "segmenter.pairs"),
        ({"cohorts": [{"name": "aiforcovid", "reader": "..os", "path": "x"}]}, "cohorts.0.reader"),
        ({"cohorts": [{"name": "aiforcovid", "reader": "aiforcovid", "path": "a/../../b"}]}, "cohorts.0.path"),
        ({"cohorts": [{"name": "../x", "reader": "aiforcovid", "path": "x"}]}, "cohorts.0.name"),
    ],
)
def test_a_recipe_that_leads_out_of_its_data_folder_is_refused(
    client: TestClient, fields: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    assert field in fields_named(refusal(client, {"recipe": fields | change}, 422, "invalid-recipe"))


def test_recipes_of_the_services_own_files_cannot_be_named(client: TestClient) -> None:
    for name in ("/etc/passwd", "recipe.json", "dem", ""):
        assert "demo" in refusal(client, {"recipe": name}, 422, "invalid-recipe")["detail"]


def test_data_must_be_a_folder_in_the_place_of_data(client: TestClient, fields: dict[str, Any], data: Path) -> None:
    for wrong in (str(data / "nowhere"), "/etc", str(data / "../../.."), "\0", "x" * 5000):
        refusal(client, {"recipe": fields, "data": wrong}, 422, "invalid-data")


def test_unknown_keys_and_wrong_types_around_the_recipe_are_refused(client: TestClient) -> None:
    assert fields_named(refusal(client, {"recipe": "demo", "promotion": True}, 422, "invalid-request")) == {"promotion"}
    assert fields_named(refusal(client, {"recipe": "demo", "promote": "yes"}, 422, "invalid-request")) == {"promote"}
    refusal(client, [], 422, "invalid-request")


def test_what_is_no_json_too_large_or_of_another_type_is_refused(client: TestClient) -> None:
    as_json = {"content-type": "application/json"}
    assert client.post("/protocols", content=b"{", headers=as_json).json()["code"] == "invalid-request"
    assert client.post("/protocols", content=b"[" * 15_000, headers=as_json).json()["code"] == "invalid-request"
    assert client.post("/protocols", content=b" " * 20_001, headers=as_json).json()["code"] == "body-too-large"
    large = client.post("/protocols", content=(b" " * 9_000 for _ in range(3)), headers=as_json)
    assert (large.status_code, large.json()["code"]) == (413, "body-too-large")
    assert client.post("/protocols", content=b'{"recipe": "demo"}', headers={"content-type": "text/plain"}).status_code == 415


@tries(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON, recipe=JSON, name=st.sampled_from(["cohorts", "schemes", "training", "tuned", "own_experiments", "running"]))
def test_whatever_is_sent_is_refused_in_words_and_never_fails_the_service(
    client: TestClient, fields: dict[str, Any], body: Any, recipe: Any, name: str
) -> None:
    for sent in (body, {"recipe": recipe}, {"recipe": fields | {name: recipe}, "data": "/nowhere"}):
        answer = client.post("/protocols", content=json.dumps(sent), headers={"content-type": "application/json"})
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"]


def test_pages_and_protocols_that_are_not_there_are_problems_too(client: TestClient) -> None:
    assert client.get("/protocols/0123456789ab").json()["code"] == "unknown-protocol"
    assert client.delete("/protocols/0123456789ab").status_code == 404
    assert client.get("/protocols/0123456789ab/events").status_code == 404
    assert client.get("/nowhere").json()["code"] == "not-found"
    assert client.put("/protocols").json()["code"] == "method-not-allowed"


def test_the_description_says_what_it_is_not_for_and_lists_the_refusals(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert "not a medical device" in described["info"]["description"]
    refusals = described["paths"]["/protocols"]["post"]["responses"]
    assert {"200", "202", "409", "413", "415", "422", "503"} <= set(refusals)
    assert client.get("/docs").status_code == 200


def test_with_mlflow_away_the_service_lives_says_so_and_refuses_for_now(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        uri = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        settings = Settings(home=tmp_path, tracking_uri=uri, retry_seconds=0.2)
        with service(settings, wait_for_ever) as client:
            until(lambda: uri in client.get("/readyz").json()["detail"])
            ready = client.get("/readyz")
            assert (client.get("/healthz").status_code, ready.status_code, ready.headers["Retry-After"]) == (200, 503, "1")
            for answer in (client.get("/protocols"), client.post("/protocols", json=submission(recipe_on(data)))):
                assert (answer.status_code, answer.json()["code"]) == (503, "tracking-away")
                assert answer.headers["Retry-After"] == "1"
            assert "mdmt_trainer_ready 0.0" in client.get("/metrics").text
