"""POST /predict?explain=true and Accept: image/png: where the answer was seen."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from cxr.bundle import Bundle
from serving.errors import ProblemError
from serving.representations import FORMS, acceptable
from tests.serving.conftest import service
from tests.serving.test_predictions import PNG, as_dicom
from tests.serving.tiny_bundle import DEVICE, encoded, film, loader, write_bundle

PICTURE = {**PNG, "accept": "image/png"}


def picture_of(client: TestClient, data: bytes, query: str = "") -> np.ndarray:
    answer = client.post(f"/predict{query}", content=data, headers=PICTURE)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


def test_evidence_comes_only_when_asked_for_and_changes_no_answer(client: TestClient, bundle_folder: Path) -> None:
    plain = client.post("/predict", content=encoded(film()), headers=PNG).json()
    explained = client.post("/predict?explain=true", content=encoded(film()), headers=PNG).json()
    assert plain["evidence"] is None
    for name in ("prognosis", "severity", "lungs", "film"):
        assert plain[name] == explained[name]
    bundle = Bundle(bundle_folder)
    expected = bundle.predict_film(bundle.prepare(encoded(film())), explain=True).evidence
    assert set(explained["evidence"]) == {"prognosis", "severity"}
    for task in bundle.tasks:
        of_label = expected[task.name][task.index(explained[task.name]["label"])]
        found = explained["evidence"][task.name]
        np.testing.assert_allclose(found["label"]["map"], of_label / of_label.sum(), atol=1e-5)
        assert np.sum(found["worse"]["map"]) == pytest.approx(1, abs=1e-3)
        assert 0 <= found["label"]["in_lungs"] <= 1


@pytest.mark.parametrize("question", ["worse", "label"])
def test_the_picture_has_the_films_size_and_keeps_what_no_answer_was_seen_in(client: TestClient, question: str) -> None:
    pixels = film(size=200)
    without = picture_of(client, encoded(pixels), "?opacity=0")
    assert without.shape == (200, 200, 3)
    gray = (without[..., 0] == without[..., 1]) & (without[..., 1] == without[..., 2])
    assert gray.mean() > 0.9  # all but outline, box and text
    heated = picture_of(client, encoded(pixels), f"?opacity=1&task=severity&evidence={question}")
    changed = (heated != without).any(axis=2)
    assert changed.any()
    box = client.post("/predict", content=encoded(pixels), headers=PNG).json()["lungs"]["box"]
    rows, columns = np.nonzero(changed[90:])  # above, the words differ too
    assert box[0] <= columns.min() and columns.max() < box[2]
    assert rows.max() + 90 < box[3]


@pytest.mark.parametrize("make", [encoded, as_dicom])
def test_every_format_is_drawn(client: TestClient, make: object) -> None:
    assert picture_of(client, make(film())).shape == (160, 160, 3)  # type: ignore[operator]


def test_a_version_without_evidence_answers_and_says_why_it_cannot_explain(tmp_path: Path) -> None:
    with service(loader(write_bundle(tmp_path, explains=False))) as client:
        assert client.post("/predict", content=encoded(film()), headers=PNG).status_code == 200
        for path, headers in (("/predict?explain=true", PNG), ("/predict", PICTURE), ("/predict/batch?explain=true", PNG)):
            refused = client.post(path, content=encoded(film()), headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (409, "/problems/no-evidence")


def test_an_unknown_task_or_opacity_is_refused_with_what_is_allowed(client: TestClient) -> None:
    refused = client.post("/predict?task=age", content=encoded(film()), headers=PICTURE)
    assert refused.status_code == 422
    assert "prognosis, severity" in refused.json()["detail"]
    allowed = {
        "opacity=7": "`opacity`: Input should be less than or equal to 1",
        "explain=perhaps": "`explain`: Input should be a valid",
    }
    for query, said in {**allowed, "evidence=why": "`evidence`: Input should be 'worse'"}.items():
        refused = client.post(f"/predict?{query}", content=encoded(film()), headers=PICTURE)
        assert refused.status_code == 422
        assert said in refused.json()["detail"]
        assert query.partition("=")[2] not in refused.json()["detail"]


def test_classes_without_an_order_have_evidence_for_the_answer_alone(tmp_path: Path) -> None:
    with service(loader(write_bundle(tmp_path, (DEVICE,)))) as client:
        found = client.post("/predict?explain=true", content=encoded(film()), headers=PNG).json()["evidence"]["device"]
        assert found["worse"] is None
        assert picture_of(client, encoded(film())).shape == (160, 160, 3)
        assert client.post("/predict?evidence=worse", content=encoded(film()), headers=PICTURE).status_code == 422


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("application/*", "application/json"),
        ("application/json;q=0.5, application/dicom", "application/dicom"),
        ("image/png;q=0, */*", "application/json"),
        ("IMAGE/PNG; Q=0.9, application/json;q=nonsense", "image/png"),
    ],
)
def test_the_form_of_the_answer_follows_accept(accept: str, form: str) -> None:
    assert acceptable(accept)[0] == form


def test_the_forms_that_accept_likes_less_follow() -> None:
    assert acceptable("application/dicom, image/*;q=0.5") == ["application/dicom", "image/png"]
    every = "application/json;q=0.1, application/dicom;q=0.3, image/png;q=0.2"
    assert acceptable(every) == [
        "application/dicom",
        "image/png",
        "application/json",
    ]


@given(st.text(max_size=60))
def test_any_accept_gets_a_form_or_a_refusal(accept: str) -> None:
    try:
        assert {*acceptable(accept)} <= {*FORMS}
    except ProblemError as refused:
        assert refused.code == "not-acceptable"


def test_a_form_that_is_not_offered_is_406_before_the_film_is_read(client: TestClient) -> None:
    refused = client.post("/predict", content=b"no film", headers={**PNG, "accept": "text/html"})
    assert (refused.status_code, refused.json()["type"]) == (406, "/problems/not-acceptable")
