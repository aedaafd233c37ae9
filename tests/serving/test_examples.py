"""The examples of /openapi.json run: each request is posted, each answer has the shape of what comes back."""

from starlette.testclient import TestClient

from serving.answers import PredictionAnswer
from tests.serving.test_predictions import PNG
from tests.serving.tiny_bundle import encoded, film


def test_every_example_of_a_request_is_understood(client: TestClient) -> None:
    posted = 0
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for kind, content in operations.get("post", {}).get("requestBody", {}).get("content", {}).items():
            if "example" not in content:
                continue
            answer = client.post(path.replace("{name}", "mdmt"), json=content["example"], headers={"content-type": kind})
            posted += 1
            assert answer.json()["type"] == "/problems/no-contrast"  # read to the film, which is blank: nobody's
    assert posted


def test_the_example_of_an_answer_is_one(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    example = described["responses"]["200"]["content"]["application/json"]["example"]
    given = client.post("/predict", content=encoded(film()), headers=PNG).json()
    assert PredictionAnswer.model_validate(example).notice == given["notice"]
    assert set(example) <= set(given) <= {*example, "evidence"}  # the description leaves out what is null
    for name in ("prognosis", "severity", "lungs", "film", "model", "timings_ms"):
        assert set(example[name]) <= set(given[name])
