"""/v2: the Open Inference Protocol over the same engine."""

import base64
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cxr.tasks import PROGNOSIS, SEVERITY
from serving.answers import NOTICE
from tests.serving.conftest import service
from tests.serving.test_predictions import PNG
from tests.serving.tiny_bundle import encoded, film, loader

URL = "/v2/models/mdmt/infer"


def asked(*films: bytes, **more: object) -> dict:
    data = [base64.b64encode(one).decode() for one in films]
    return {"inputs": [{"name": "film", "shape": [len(films)], "datatype": "BYTES", "data": data}], **more}


def test_a_service_that_is_ending_is_ready_for_no_more_whichever_protocol_asks(bundle_folder: Path) -> None:
    with service(loader(bundle_folder)) as client:
        paths = ("/readyz", "/v2/health/ready", "/v2/models/mdmt/ready")
        assert [client.get(path).status_code for path in paths] == [200, 200, 200]
        client.app.state.readiness.ending = True
        assert [client.get(path).status_code for path in paths] == [503, 503, 503]
        assert client.post(URL, json=asked(encoded(film()))).status_code == 200


def test_films_are_answered_as_predict_answers_them(client: TestClient) -> None:
    films = [encoded(film(seed=1)), encoded(film(seed=2), "JPEG")]
    body = client.post(URL, json=asked(*films, id="mine")).json()
    alone = [client.post("/predict", content=one, headers=PNG).json() for one in films]
    assert (body["model_name"], body["model_version"], body["id"]) == ("mdmt", "7", "mine")
    assert body["parameters"]["notice"] == NOTICE
    outputs = {output["name"]: output for output in body["outputs"]}
    for task in (PROGNOSIS, SEVERITY):
        assert outputs[task.name]["shape"] == [2, len(task.classes)]
        assert outputs[task.name]["data"] == [p for one in alone for p in one[task.name]["probabilities"].values()]
        assert outputs[f"{task.name}_label"]["data"] == [one[task.name]["label"] for one in alone]


def test_only_the_outputs_asked_for_are_answered_in_their_order(client: TestClient) -> None:
    body = client.post(URL, json=asked(encoded(film()), outputs=[{"name": "severity_label"}, {"name": "prognosis"}])).json()
    assert [output["name"] for output in body["outputs"]] == ["severity_label", "prognosis"]


def test_metadata_names_what_infer_takes_and_gives(client: TestClient) -> None:
    described = client.get("/v2/models/mdmt").json()
    assert (described["name"], described["versions"], described["platform"]) == ("mdmt", ["7"], "onnx")
    assert described["inputs"] == [{"name": "film", "datatype": "BYTES", "shape": [-1]}]
    given = client.post(URL, json=asked(encoded(film()))).json()["outputs"]
    assert [(one["name"], one["datatype"]) for one in described["outputs"]] == [(one["name"], one["datatype"]) for one in given]
    assert client.get("/v2").json()["name"] == "mdmt"
    assert client.get("/v2/models/mdmt/ready").json() == {"name": "mdmt", "ready": True}


def test_health_tells_alive_from_ready(client: TestClient) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}

    def fails() -> None:
        raise RuntimeError("no bundle")

    with service(fails, ready=False) as unready:  # type: ignore[arg-type]
        assert unready.get("/v2/health/live").status_code == 200
        assert unready.get("/v2/health/ready").status_code == 503


def test_an_empty_film_is_refused_as_predict_refuses_it(client: TestClient) -> None:
    alone, here = client.post("/predict", content=b"", headers=PNG), client.post(URL, json=asked(b""))
    assert here.status_code == alone.status_code == 422
    assert [here.json()[name] for name in ("type", "detail")] == [alone.json()[name] for name in ("type", "detail")]


GOOD = asked(encoded(film()))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (asked(b"no film"), 415),
        (asked(encoded(film(lungs=0))), 422),
        (asked(), 422),
        (asked(*[b"x"] * 17), 422),
        ({**GOOD, "inputs": GOOD["inputs"] * 2}, 422),
        ({**GOOD, "inputs": [{**GOOD["inputs"][0], "shape": [2]}]}, 422),
        ({**GOOD, "inputs": [{**GOOD["inputs"][0], "data": ["not base64!"]}]}, 422),
        ({**GOOD, "inputs": [{**GOOD["inputs"][0], "data": [7]}]}, 422),
        ({**GOOD, "inputs": [{**GOOD["inputs"][0], "name": "image"}]}, 422),
        ({**GOOD, "outputs": [{"name": "age"}]}, 422),
        ([], 422),
    ],
)
def test_what_does_not_fit_is_refused_by_name(client: TestClient, body: object, status: int) -> None:
    refused = client.post(URL, json=body)
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"


def test_another_model_and_another_media_type_are_refused(client: TestClient) -> None:
    assert client.post("/v2/models/other/infer", json=GOOD).status_code == 404
    assert client.post(URL, content=b"{}", headers=PNG).status_code == 415
