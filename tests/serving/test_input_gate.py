"""A version with an input gate refuses what is not like its training films; one without answers, and says that it has none."""

import json
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from cxr.bundle import Bundle
from cxr.manifest import GATE, MANIFEST, BundleError, digest_of, read_manifest
from tests.cxr.chests import chest, gate_model
from tests.cxr.dicoms import dicom
from tests.serving.conftest import service
from tests.serving.tiny_bundle import encoded, loader, write_bundle

RAW = {"content-type": "application/octet-stream"}


def gated(folder: Path, content: str) -> Path:
    """A sealed bundle with that content of gate.json."""
    write_bundle(folder)
    (folder / GATE).write_text(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][GATE] = digest_of(content.encode())
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def gated_client(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = gated(tmp_path_factory.mktemp("gated") / "bundle", gate_model().model_dump_json())
    with service(loader(folder)) as client:
        yield client


def post(client: TestClient, data: bytes):  # type: ignore[no-untyped-def]
    return client.post("/predict", content=data, headers=RAW)


def test_a_film_like_those_of_training_is_answered_with_its_score(gated_client: TestClient) -> None:
    answer = post(gated_client, encoded(chest(1_000)))
    assert answer.status_code == 200
    assert 0 < answer.json()["film"]["gate_score"] <= gate_model().threshold


def test_an_inverted_film_is_a_422_with_reason_score_and_threshold(gated_client: TestClient) -> None:
    answer = post(gated_client, encoded(255 - chest(1_000)))
    body = answer.json()
    assert (answer.status_code, body["type"], body["reason"]) == (422, "/problems/not-a-frontal-chest", "inverted")
    assert body["threshold"] == gate_model().threshold and (body["score"] is None or body["score"] > body["threshold"])
    assert "inverted" in body["detail"] and body["advice"]


def test_the_golden_film_is_no_film_of_a_cohort_and_is_not_asked(gated_client: TestClient, tmp_path: Path) -> None:
    bundle = Bundle(gated(tmp_path / "bundle", gate_model().model_dump_json()))
    bundle.check_golden()
    assert gated_client.get("/readyz").status_code == 200


def test_the_model_page_says_what_the_gate_lets_through_or_that_there_is_none(
    client: TestClient, gated_client: TestClient
) -> None:
    assert client.get("/model").json()["gate"] is None
    assert gated_client.get("/model").json()["gate"] == {
        "threshold": gate_model().threshold, "accepted": gate_model().accepted, "films": 120, "cohorts": ["chests"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "reason"),
    [({"ViewPosition": "LL"}, "view"), ({"BodyPartExamined": "HAND"}, "body-part"), ({"PatientAge": "009Y"}, "age")],
)
def test_tags_are_asked_by_every_version(client: TestClient, tags: dict[str, str], reason: str) -> None:
    answer = post(client, dicom(chest(3).astype(np.uint16) * 16, bits=12, **tags))
    assert (answer.status_code, answer.json()["reason"], answer.json()["score"]) == (422, reason, None)


@pytest.mark.parametrize(("born", "status"), [(b"20110405", 422), (b"19330117", 200), (b"CANARYQZ", 200)])
def test_without_an_age_a_child_is_refused_by_its_birthday_which_nobody_repeats(
    client: TestClient, caplog: pytest.LogCaptureFixture, born: bytes, status: int
) -> None:
    film = dicom(chest(3).astype(np.uint16) * 16, bits=12, PatientBirthDate="20010203", StudyDate="20200401")
    with caplog.at_level("DEBUG"):
        answer = post(client, film.replace(b"20010203", born))
    assert (answer.status_code, answer.json().get("reason")) == (status, "age" if status == 422 else None)
    assert not [day for day in (born.decode(), "20200401") if day in answer.text + caplog.text]


@pytest.mark.parametrize("content", ["{}", "not json", gate_model().model_copy(update={"revision": 0}).model_dump_json()])
def test_a_gate_that_cannot_be_read_makes_a_bundle_that_is_not_served(tmp_path: Path, content: str) -> None:
    with pytest.raises(BundleError, match="gate"):
        Bundle(gated(tmp_path / "bundle", content))


def test_an_altered_gate_is_found_by_its_digest(tmp_path: Path) -> None:
    folder = gated(tmp_path / "bundle", gate_model().model_dump_json())
    (folder / GATE).write_text(gate_model().model_copy(update={"threshold": 99.0}).model_dump_json())
    with pytest.raises(BundleError, match="altered"):
        read_manifest(folder)
