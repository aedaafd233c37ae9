"""POST /predict: what is answered."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from starlette.testclient import TestClient

from cxr.bundle import Bundle
from cxr.tasks import PROGNOSIS, SEVERITY, Task
from serving.answers import NOTICE
from tests.serving.conftest import service
from tests.serving.tiny_bundle import DEVICE, encoded, film, loader, write_bundle

PNG = {"content-type": "image/png"}


def as_dicom(pixels: np.ndarray) -> bytes:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=["film"])
    data.Modality, data.PatientName, data.PhotometricInterpretation = "DX", "Secret^Name", "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 1, 16, 12, 11, 0
    data.PixelData = (pixels.astype(np.uint16) * 16).tobytes()
    out = io.BytesIO()
    pydicom.dcmwrite(out, data, enforce_file_format=True)
    return out.getvalue()


def test_a_film_gets_an_answer_for_every_task_and_says_where_it_comes_from(client: TestClient, bundle_folder: Path) -> None:
    answer = client.post("/predict", content=encoded(film()), headers=PNG)
    body, bundle = answer.json(), Bundle(bundle_folder)
    expected = bundle.predict(encoded(film()))
    assert answer.status_code == 200
    for task in (PROGNOSIS, SEVERITY):
        given = expected.answers[task.name]
        assert body[task.name]["label"] == given.label
        assert body[task.name]["probability"] == given.probabilities[given.index]
        assert list(body[task.name]["probabilities"]) == list(task.classes)
        assert sum(body[task.name]["probabilities"].values()) == pytest.approx(1)
        assert body[task.name]["meaning"] == task.meaning[given.index]
    category = body["severity"]["category"]
    assert body["severity"]["brixia_range"] == list(SEVERITY.ranges[category])
    traced = {"steps": list(expected.film.steps), "digest": expected.film.digest, "gate_score": None}
    assert body["film"] == {"source": "png", **traced}
    assert body["lungs"]["verdict"] == "both-lungs"
    assert body["lungs"]["box"] == list(expected.film.box)
    assert body["lungs"]["film_size"] == [160, 160]
    assert body["model"]["digest"] == bundle.digest
    assert body["model"]["version"] == answer.headers["X-Model-Version"] == "7"
    assert body["notice"] == NOTICE
    assert body["warnings"] == []
    assert set(body["timings_ms"]) == {"read_body", "prepare", "network", "total"}


def test_the_same_bytes_are_answered_alike_as_form_and_as_raw_body(client: TestClient) -> None:
    data = encoded(film(seed=3))
    answers = [
        client.post("/predict", files={"file": ("a.txt", data, "text/plain")}),
        client.post("/predict", files={"file": data}, data={"note": "ignored"}),
        *(
            client.post("/predict", content=data, headers={"content-type": kind})
            for kind in ("image/png", "application/octet-stream")
        ),
        client.post("/predict", content=data, headers={"content-type": "IMAGE/PNG; charset=binary"}),
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert len({json.dumps([answer.json()[key] for key in ("prognosis", "severity", "film")]) for answer in answers}) == 1


def test_png_jpeg_and_dicom_are_told_apart_by_content_whatever_the_type_says(client: TestClient) -> None:
    pixels = film(seed=4)
    for data, source in ((encoded(pixels), "png"), (encoded(pixels, "JPEG"), "jpeg"), (as_dicom(pixels), "dicom")):
        for kind in ("image/png", "image/jpeg", "application/dicom"):
            answer = client.post("/predict", content=data, headers={"content-type": kind})
            assert (answer.status_code, answer.json()["film"]["source"]) == (200, source)


def test_a_dicom_and_a_png_of_one_film_give_the_network_the_same_bytes(client: TestClient) -> None:
    pixels = film(seed=5)
    digests = {
        client.post("/predict", content=data, headers=PNG).json()["film"]["digest"]
        for data in (encoded(pixels), as_dicom(pixels))
    }
    assert len(digests) == 1


def test_patient_names_are_in_no_answer(client: TestClient) -> None:
    answer = client.post("/predict", content=as_dicom(film()), headers=PNG)
    assert "Secret" not in answer.text


def test_a_single_lung_is_answered_with_a_warning(client: TestClient) -> None:
    body = client.post("/predict", content=encoded(film(lungs=1)), headers=PNG).json()
    assert body["lungs"]["verdict"] == "one-lung"
    assert len(body["warnings"]) == 1


def test_a_third_task_is_answered_and_described_without_further_code(tmp_path: Path) -> None:
    stage = Task("stage", "A score", ("low", "high"), ("few", "many"), ranges=((0, 3), (4, 9)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("tests.serving.tiny_bundle", fromlist=["x"]).TEMPERATURES, "stage", 2.0)
        folder = write_bundle(tmp_path, (PROGNOSIS, SEVERITY, DEVICE, stage))
    with service(loader(folder)) as client:
        body = client.post("/predict", content=encoded(film()), headers=PNG).json()
        assert body["device"]["label"] in DEVICE.classes
        assert "category" not in body["device"]
        assert body["stage"]["range"] == list(stage.ranges[body["stage"]["category"]])
        assert [task["name"] for task in client.get("/model").json()["tasks"]] == ["prognosis", "severity", "device", "stage"]
        assert 'mdmt_predictions_total{label="' in client.get("/metrics").text


def test_eight_requests_at_once_get_the_answers_they_get_alone(client: TestClient) -> None:
    films = [encoded(film(seed=seed)) for seed in range(8)]

    def ask(data: bytes) -> list[object]:
        body = client.post("/predict", content=data, headers=PNG).json()
        return [body[key] for key in ("prognosis", "severity", "film", "lungs")]

    alone = [ask(data) for data in films]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, films)) == alone


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=80))
def test_a_request_id_comes_back_if_it_is_harmless_and_is_replaced_otherwise(client: TestClient, given_id: str) -> None:
    answer = client.get("/livez", headers={"x-request-id": given_id})
    harmless = given_id.replace("-", "").isalnum() or set(given_id) == {"-"}
    kept = answer.headers["X-Request-ID"] == given_id
    assert kept == (harmless and len(given_id) <= 64)
    assert len(answer.headers["X-Request-ID"]) <= 64


def test_openapi_documents_the_notice_the_upload_and_every_refusal(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    operation = described["paths"]["/predict"]["post"]
    assert NOTICE in described["info"]["description"]
    assert set(operation["requestBody"]["content"]) >= {"multipart/form-data", "image/png", "image/jpeg", "application/dicom"}
    assert set(operation["responses"]) == {"200", "406", "408", "409", "413", "415", "422", "500", "503"}
    assert "no-lungs" in operation["responses"]["422"]["content"]["application/problem+json"]["examples"]
    assert client.get("/docs").status_code == 200


def test_the_answers_come_first_in_the_body(client: TestClient) -> None:
    body = client.post("/predict", content=encoded(film()), headers=PNG).json()
    assert list(body)[:2] == ["prognosis", "severity"]


def test_a_version_is_named_where_it_was_asked_and_nowhere_else(client: TestClient) -> None:
    data = encoded(film())
    named = [
        client.post("/predict", content=data, headers={"content-type": "image/png"}),
        client.post("/predict/batch", files={"file": data}),
        client.get("/model"),
        client.get("/v2/models/mdmt"),
    ]
    assert [answer.headers.get("X-Model-Version") for answer in named] == ["7"] * 4
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/", "/nowhere", "/v2/health/ready"):
        assert "X-Model-Version" not in client.get(path).headers, path
