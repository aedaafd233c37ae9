"""A version that fails at its first requests is taken back, and the one before answers again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cxr.bundle import Bundle
from serving.readiness import FIRST_ANSWERS, Readiness
from tests.serving import versions
from tests.serving.following import following, refused_so_far, served
from tests.serving.test_refusals import PNG, assert_problem
from tests.serving.tiny_bundle import encoded, film
from tests.serving.versions import Shelf, version

pytestmark = pytest.mark.usefixtures("tried_before")


def brightness(bundle: Path, data: bytes) -> float:
    """What the network sees of a film: its mean, in parts of white."""
    return float(Bundle(bundle, engine="onnxruntime").prepare(data, gated=False).pixels.mean()) / 255


@pytest.fixture
def failing(tmp_path: Path) -> tuple[Path, bytes, bytes]:
    """A version that answers its golden films and fails at brighter ones; a film that it answers, and one at which it fails."""
    plain = version(tmp_path / "plain")
    golden = max(brightness(plain, data) for data, _ in Bundle(plain).golden)
    films = {brightness(plain, data): data for data in (encoded(film(seed=seed)) for seed in range(200, 260))}
    dark, bright = min(films), max(films)
    assert dark < golden < bright
    folder = version(tmp_path / "failing", change=lambda folder: versions.failing_above(folder, (golden + bright) / 2))
    return folder, films[dark], films[bright]


@contextmanager
def serving_it(folder: Path, good: list[Path], failing: Path) -> Iterator[tuple[Shelf, object, Readiness]]:
    """What `following` gives, with the failing version as number 3, which has just taken over."""
    with following(folder, good) as (shelf, client, readiness):
        shelf.put("3", failing)
        shelf.alias = "3"
        assert readiness.look().change == "switched"
        yield shelf, client, readiness


def test_a_version_that_fails_at_three_requests_in_a_row_is_taken_back_and_not_tried_again_before_the_alias_moves(
    tmp_path: Path, good: list[Path], failing: tuple[Path, bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    folder, dark, bright = failing
    with caplog.at_level(logging.WARNING, "serving"), serving_it(tmp_path, good, folder) as (shelf, client, readiness):
        statuses = [client.post("/predict", content=data, headers=PNG).status_code for data in (dark, bright, bright, dark)]
        assert statuses == [200, 500, 500, 200]
        for status in (500, 500, 500, 200):
            answer = client.post("/predict", content=bright, headers=PNG)
            assert answer.status_code == status
        assert answer.headers["X-Model-Version"] == served(client) == "1"
        said = "version 3 failed at 5 of its first 7 requests"
        assert f"{said}; version 1 is still served" in caplog.text
        assert refused_so_far(client, "failing") == 1
        assert [readiness.look().change for _ in range(2)] == ["unchanged", "unchanged"]
        assert said in str(assert_problem(client.post("/admin/reload"), 409, "version-refused")["detail"])
        assert served(client) == "1"
        shelf.alias = "2"
        assert readiness.look().change == "switched"
        shelf.alias = "3"
        assert readiness.look().change == "switched"


def test_a_version_that_fails_at_more_than_a_twentieth_of_its_first_hundred_requests_is_taken_back(
    tmp_path: Path, good: list[Path], failing: tuple[Path, bytes, bytes]
) -> None:
    folder, _, bright = failing
    with serving_it(tmp_path, good, folder) as (_, client, _):
        for number in range(60):
            assert client.post("/predict", content=b"no film", headers=PNG).status_code == 415  # says nothing about the version
            assert served(client) == ("3" if number < 54 else "1")
            if number % 10 == 3:
                status = client.post("/predict", content=bright, headers=PNG).status_code
                assert status == (500 if number < 54 else 200)


def test_after_its_first_hundred_answers_a_version_stays_whatever_it_fails_at(
    tmp_path: Path, good: list[Path], failing: tuple[Path, bytes, bytes]
) -> None:
    folder, dark, bright = failing
    with serving_it(tmp_path, good, folder) as (_, client, _):
        for number in range(FIRST_ANSWERS):
            data = bright if number % 20 == 0 else dark
            assert client.post("/predict", content=data, headers=PNG).status_code == (500 if data is bright else 200)
        assert [client.post("/predict", content=bright, headers=PNG).status_code for _ in range(8)] == [500] * 8
