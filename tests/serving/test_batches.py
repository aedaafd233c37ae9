"""POST /predict/batch: every film gets its own verdict."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving.answers import NOTICE
from tests.serving.conftest import service
from tests.serving.test_predictions import PNG
from tests.serving.tiny_bundle import encoded, film, loader

FILMS = {
    "good": encoded(film(seed=1)),
    "other": encoded(film(seed=2), "JPEG"),
    "text": b"no film at all",
    "empty": b"",
    "no lungs": encoded(film(lungs=0)),
    "cut": encoded(film())[:900],
}
REFUSED = {
    "text": (415, "unsupported-format"),
    "empty": (422, "empty-body"),
    "no lungs": (422, "no-lungs"),
    "cut": (422, "truncated-file"),
}


def post(client: TestClient, films: list[bytes], query: str = "") -> dict:
    answer = client.post(f"/predict/batch{query}", files=[("file", (f"{i}", data)) for i, data in enumerate(films)])
    assert answer.status_code == 200, answer.text
    return answer.json()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(sorted(FILMS)), min_size=1, max_size=6))
def test_a_bad_film_never_touches_its_neighbours(client: TestClient, names: list[str]) -> None:
    alone = {name: client.post("/predict", content=FILMS[name], headers=PNG).json() for name in ("good", "other")}
    body = post(client, [FILMS[name] for name in names])
    assert [entry["index"] for entry in body["results"]] == list(range(len(names)))
    for name, entry in zip(names, body["results"], strict=True):
        if name in alone:
            assert entry["problem"] is None
            assert [entry["answer"][key] for key in ("prognosis", "severity", "film")] == [
                alone[name][key] for key in ("prognosis", "severity", "film")
            ]
        else:
            status, code = REFUSED[name]
            assert entry["answer"] is None
            assert (entry["problem"]["status"], entry["problem"]["type"]) == (status, f"/problems/{code}")
    assert (body["answered"], body["refused"]) == (sum(n in alone for n in names), sum(n not in alone for n in names))
    assert body["notice"] == NOTICE


@pytest.mark.parametrize("name", ["no lungs", "empty"])
def test_a_film_is_refused_in_a_batch_as_it_is_alone(client: TestClient, name: str) -> None:
    alone = client.post("/predict", content=FILMS[name], headers=PNG).json()
    (entry,) = post(client, [FILMS[name]])["results"]
    for name in ("type", "title", "status", "detail", "advice"):
        assert entry["problem"][name] == alone[name]


def test_a_batch_is_explained_when_asked_for(client: TestClient) -> None:
    (entry,) = post(client, [FILMS["good"]], "?explain=true")["results"]
    assert set(entry["answer"]["evidence"]) == {"prognosis", "severity"}


def test_too_many_films_too_many_bytes_and_other_bodies_are_refused_as_a_whole(bundle_folder) -> None:  # type: ignore[no-untyped-def]
    with service(loader(bundle_folder), batch_films=2, batch_bytes=100_000, max_bytes=60_000) as client:
        many = client.post("/predict/batch", files=[("file", FILMS["good"])] * 3)
        assert (many.status_code, many.json()["type"]) == (422, "/problems/several-files")
        large = client.post("/predict/batch", files=[("file", b"x" * 120_000)] * 2)
        assert (large.status_code, large.json()["type"]) == (413, "/problems/file-too-large")
        raw = client.post("/predict/batch", content=FILMS["good"], headers=PNG)
        assert (raw.status_code, raw.json()["type"]) == (415, "/problems/unsupported-media-type")
        nothing = client.post("/predict/batch", files={"other": FILMS["good"]})
        assert (nothing.status_code, nothing.json()["type"]) == (422, "/problems/missing-file")
        one = client.post("/predict/batch", files=[("file", b"x" * 70_000), ("file", FILMS["good"])])
        assert [entry["problem"] and entry["problem"]["status"] for entry in one.json()["results"]] == [413, None]


@pytest.mark.parametrize("name", ["file", "files"])
def test_only_parts_named_file_are_films(client: TestClient, name: str) -> None:
    answer = client.post("/predict/batch", files=[(name, FILMS["good"])])
    assert answer.status_code == (200 if name == "file" else 422)
