"""What is not answered, and how it is said."""

import errno
import io
import json
import logging
import time
from collections import deque
from pathlib import Path

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

import cxr.bundle  # noqa: F401 - so that every FilmError class of the house is known here
from cxr import decoding, raster_apart
from cxr.bundle import Bundle
from cxr.errors import FilmError
from serving.admission import Admission
from serving.errors import FILM_STATUS, MEDIA_TYPE, PROBLEMS, ProblemError
from tests.serving.conftest import service
from tests.serving.tiny_bundle import encoded, film, loader

PNG = {"content-type": "image/png"}
SECRET = "Doe-Jane-1950"


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def assert_problem(answer: object, status: int, code: str) -> dict[str, object]:
    """The whole contract of an error body; returns it."""
    body = answer.json()
    assert (answer.status_code, body["type"]) == (status, f"/problems/{code}"), body
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert body["status"] == status
    assert body["title"] == PROBLEMS[code][1]
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert body["instance"].endswith(body["request_id"])
    assert body["detail"]
    assert SECRET not in answer.text
    return body


def test_every_film_error_has_a_row_in_the_table() -> None:
    assert subclasses(FilmError) == set(FILM_STATUS)
    assert len({kind.code for kind in FILM_STATUS}) == len(FILM_STATUS)


def test_content_of_another_kind_is_415_whatever_it_is_called(client: TestClient) -> None:
    for data in (b"just text", b"%PDF-1.7 ...", b"PK\x03\x04....", b"<svg/>", b"II*\x00" + bytes(200)):
        assert_problem(client.post("/predict", files={"file": (f"{SECRET}.png", data, "image/png")}), 415, "unsupported-format")


@pytest.mark.parametrize(
    "kind", [None, "text/html", "application/x-www-form-urlencoded", "image/tiff", "multipart/mixed; boundary=b"]
)
def test_other_media_types_are_415_and_the_accepted_ones_are_listed(client: TestClient, kind: str | None) -> None:
    answer = client.post("/predict", content=encoded(film()), headers={"content-type": kind} if kind else {})
    assert_problem(answer, 415, "unsupported-media-type")
    assert "image/png" in answer.headers["Accept"]


def test_a_compressed_body_is_415(client: TestClient) -> None:
    answer = client.post("/predict", content=encoded(film()), headers={**PNG, "content-encoding": "gzip"})
    assert_problem(answer, 415, "unsupported-media-type")


def test_a_host_that_can_start_no_decoder_is_busy_and_says_when_to_come_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object, **__: object) -> object:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(raster_apart, "_idle", deque())
    monkeypatch.setattr(decoding, "_running", [])
    monkeypatch.setattr(decoding.subprocess, "Popen", none_left)
    answer = client.post("/predict", content=encoded(film()), headers=PNG)
    assert_problem(answer, 503, "busy")
    assert int(answer.headers["Retry-After"]) >= 1
    monkeypatch.undo()
    assert client.post("/predict", content=encoded(film()), headers=PNG).status_code == 200


@pytest.mark.parametrize("files", [0, 1, 32])
def test_whoever_decodes_a_film_it_gets_the_same_answer(bundle_folder: Path, files: int) -> None:
    bundle = Bundle(bundle_folder)
    data = encoded(film(seed=4))
    with service(loader(bundle_folder), files_per_decoder=files) as client:
        answer = client.post("/predict", content=data, headers=PNG).json()
    expected = bundle.predict(data).answers["prognosis"].probabilities
    assert list(answer["prognosis"]["probabilities"].values()) == pytest.approx(expected, abs=1e-6)


def test_unusable_films_are_422_each_by_its_own_type(client: TestClient) -> None:
    whole = encoded(film())
    cases = {
        "truncated-file": whole[: len(whole) // 2],
        "film-too-small": encoded(film(size=32)),
        "no-contrast": encoded(np.full((160, 160), 90, np.uint8)),
    }
    for code, data in cases.items():
        assert_problem(client.post("/predict", content=data, headers=PNG), 422, code)


def test_a_film_without_lungs_is_422_with_verdict_and_coverage(client: TestClient) -> None:
    body = assert_problem(client.post("/predict", content=encoded(film(lungs=0)), headers=PNG), 422, "no-lungs")
    assert body["verdict"] == "no-lungs"
    assert 0 <= body["coverage"] <= 1
    assert body["advice"]


def test_forms_without_one_file_are_422(client: TestClient) -> None:
    data = encoded(film())
    two = [("file", ("a", data)), ("file", ("b", data))]
    assert_problem(client.post("/predict", files={SECRET: data}), 422, "missing-file")
    assert_problem(client.post("/predict", files=two), 422, "several-files")
    assert_problem(client.post("/predict", files=[("file", ("a", data)), ("other", ("b", data))]), 422, "several-files")
    assert_problem(client.post("/predict", files={"file": ("a", b"")}), 422, "empty-body")
    assert_problem(client.post("/predict", content=b"", headers=PNG), 422, "empty-body")
    broken = {"content-type": "multipart/form-data; boundary=b"}
    assert_problem(client.post("/predict", content=b"no form", headers=broken), 422, "malformed-form")
    assert_problem(client.post("/predict", content=b"x", headers={"content-type": "multipart/form-data"}), 422, "malformed-form")
    open_end = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhalf a film'
    assert_problem(client.post("/predict", content=open_end, headers=broken), 422, "malformed-form")
    many = {f"f{i}": "x" for i in range(20)}
    assert_problem(client.post("/predict", data=many, files={"file": data}), 422, "malformed-form")


def test_a_body_over_the_limit_is_413_with_and_without_content_length(bundle_folder: Path) -> None:
    data = encoded(film())
    with service(loader(bundle_folder), max_bytes=len(data)) as client:
        assert client.post("/predict", content=data, headers=PNG).status_code == 200
        assert client.post("/predict", files={"file": data}).status_code == 200
        assert_problem(client.post("/predict", content=data + b"0", headers=PNG), 413, "file-too-large")
        assert_problem(client.post("/predict", files={"file": data + b"0"}), 413, "file-too-large")
        assert_problem(client.post("/predict", content=iter([data, b"0"]), headers=PNG), 413, "file-too-large")
        lying = {**PNG, "content-length": "10"}
        assert_problem(client.post("/predict", content=data * 2, headers=lying), 413, "file-too-large")
        assert_problem(client.post("/predict", data={"note": "x" * 200_000}, files={"file": data}), 413, "file-too-large")


def test_a_film_of_too_many_pixels_is_413_before_it_is_decoded(bundle_folder: Path) -> None:
    bomb = io.BytesIO()
    Image.new("L", (2000, 2000)).save(bomb, "PNG")
    with service(loader(bundle_folder), max_pixels=1_000_000) as client:
        assert_problem(client.post("/predict", content=bomb.getvalue(), headers=PNG), 413, "file-too-large")


def test_unknown_paths_and_methods_are_problems_that_echo_nothing(client: TestClient) -> None:
    assert_problem(client.get(f"/films/{SECRET}"), 404, "not-found")
    assert assert_problem(client.get("/predict"), 405, "method-not-allowed")
    assert client.get("/predict").headers["Allow"] == "POST"


def test_an_unforeseen_failure_is_a_500_that_leaks_nothing(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def fail(self: Bundle, film: object, explain: bool) -> None:
        raise RuntimeError(SECRET)

    with service(loader(bundle_folder)) as client:
        monkeypatch.setattr(Bundle, "predict_film", fail)
        with caplog.at_level(logging.INFO):
            assert_problem(client.post("/predict", content=encoded(film()), headers=PNG), 500, "internal-error")
        assert client.get("/livez").status_code == 200
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


def test_the_access_log_is_json_with_routes_instead_of_paths(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "serving.access"):
        client.get(f"/films/{SECRET}")
        client.post("/predict", files={"file": (f"{SECRET}.png", encoded(film(lungs=0)))})
    lines = [json.loads(record.message) for record in caplog.records if record.name == "serving.access"]
    assert [(line["route"], line["status"], line["problem"]) for line in lines] == [
        ("unmatched", 404, "not-found"),
        ("/predict", 422, "no-lungs"),
    ]
    assert SECRET not in caplog.text


def test_refusals_are_counted_by_route_status_and_code(bundle_folder: Path) -> None:
    with service(loader(bundle_folder)) as client:
        client.post("/predict", content=b"text", headers=PNG)
        client.request("BREW", f"/{SECRET}")
        text = client.get("/metrics").text
    assert 'mdmt_requests_total{method="POST",route="/predict",status="415"} 1.0' in text
    assert 'mdmt_requests_total{method="other",route="unmatched",status="404"} 1.0' in text
    assert 'mdmt_film_errors_total{code="unsupported-format"} 1.0' in text
    assert 'mdmt_bundle_info{alias="champion"' in text
    assert "mdmt_ready 1.0" in text
    assert SECRET not in text


def test_no_more_is_admitted_than_places_and_bytes_allow() -> None:
    admission = Admission(workers=1, queue=1, max_held=100, uploads=2)
    with admission.place("one") as first, admission.place("another") as second:
        with pytest.raises(ProblemError) as refused, admission.place("third"):
            pass
        assert refused.value.headers == {"Retry-After": "1"}
        first.hold(60)
        with pytest.raises(ProblemError):
            second.hold(60)
    assert (admission.inside, admission.held) == (0, 0)
    assert not admission.inside_of + admission.held_by


def test_one_client_takes_at_most_half_of_the_uploads_and_bytes() -> None:
    admission = Admission(workers=1, queue=1, max_held=100, uploads=4)
    with admission.place("greedy") as first, admission.place("greedy") as second, admission.place("other") as other:
        with pytest.raises(ProblemError) as refused, admission.place("greedy"):
            pass
        assert refused.value.code == "too-many-requests"
        first.hold(45)
        with pytest.raises(ProblemError) as refused:
            second.hold(10)
        assert refused.value.code == "too-many-requests"
        other.hold(50)


def test_who_cannot_be_told_apart_may_have_all_of_it() -> None:
    admission = Admission(workers=1, queue=1, max_held=100, uploads=2)
    with admission.place() as first, admission.place() as second:
        first.hold(60)
        second.hold(40)
        with pytest.raises(ProblemError) as refused, admission.place():
            pass
        assert refused.value.code == "busy"


def test_a_full_queue_of_predictions_is_said_before_the_body_is_read() -> None:
    admission = Admission(workers=1, queue=0, max_held=100)

    async def fill() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(admission.compute, lambda alone: time.sleep(0.2))
            await anyio.sleep(0.05)
            with pytest.raises(ProblemError) as refused, admission.place():
                pass
            assert (refused.value.code, admission.inside, admission.computing) == ("busy", 0, 1)
            with pytest.raises(ProblemError):
                await admission.compute(lambda alone: None)

    anyio.run(fill)
    assert admission.computing == 0


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_films_are_never_a_server_error(client: TestClient, data: st.DataObject) -> None:
    whole = bytearray(encoded(film(), data.draw(st.sampled_from(["PNG", "JPEG"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    answer = client.post("/predict", content=bytes(whole[: data.draw(st.integers(1, len(whole)))]), headers=PNG)
    assert answer.status_code in (200, 413, 415, 422)
