"""Copies on disk: shared by processes, pruned by age, never lost to a note that is damaged; and what a start without the registry finds."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving import bundle_cache
from serving.bundle_cache import KEPT, BundleCache
from serving.readiness import RegistryAway
from serving.registry import Registry
from serving.settings import Settings
from tests.serving import versions
from tests.serving.conftest import service
from tests.serving.following import FILM, following, served
from tests.serving.test_refusals import PNG
from tests.serving.versions import Shelf, settings_for, version

HOURS = 3600.0
pytestmark = pytest.mark.usefixtures("tried_before")


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """First runs take a second each, and are tested elsewhere."""
    monkeypatch.setattr(bundle_cache, "tried", lambda *_: None)


def age(cache: Path, **hours: float) -> None:
    for name, passed in hours.items():
        then = time.time() - passed * HOURS
        os.utime(cache / f"{name}.tried", (then, then))


def on_disk(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if path.is_dir()}


def offline(folder: Path) -> Shelf:
    shelf = Shelf(settings_for(folder))
    shelf.away = True
    return shelf


def test_the_latest_versions_stay_those_served_last_and_those_that_somebody_may_be_opening(
    tmp_path: Path, good: list[Path], untried: None
) -> None:
    cache = BundleCache(settings_for(tmp_path / "own"))
    folder = settings_for(tmp_path / "own").cache_dir
    for number in range(1, 6):
        cache.bundle(f"v{number}", lambda into: versions.copied(good[0], into))
    assert on_disk(folder) == {"v1", "v2", "v3", "v4", "v5"}  # all of them a moment ago
    cache.remember("another alias", "1", "v1")
    age(folder, v1=9, v2=8, v3=7, v4=6, v5=5)
    cache.bundle("v3", versions.no_copy)  # from disk, as for a roll-back: it counts as new from now on
    cache.bundle("v6", lambda into: versions.copied(good[0], into))
    assert on_disk(folder) == {"v1", "v3", "v5", "v6"}
    assert len(on_disk(folder)) == KEPT + 1


def test_processes_that_load_at_once_disturb_each_other_nowhere(tmp_path: Path, good: list[Path], untried: None) -> None:
    settings = settings_for(tmp_path / "own")

    def load(number: int) -> str:
        key = number % 3
        return BundleCache(settings).bundle(f"v{key}", lambda into: versions.copied(good[key % 2], into))[0].digest

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(load, range(24)))) == 24
    assert on_disk(settings.cache_dir) == {"v0", "v1", "v2"}


def test_what_killed_processes_have_downloaded_is_thrown_away(tmp_path: Path, good: list[Path], untried: None) -> None:
    settings = settings_for(tmp_path / "own")
    left, under_way = (settings.cache_dir / f"download-{name}" for name in ("left", "under-way"))
    for folder in (left, under_way):
        folder.mkdir(parents=True)
    os.utime(left, (time.time() - 2 * HOURS,) * 2)
    BundleCache(settings).bundle("v1", lambda into: versions.copied(good[0], into))
    assert on_disk(settings.cache_dir) == {"v1", "download-under-way"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_damaged_notes_cost_a_measurement_or_a_download_and_no_start(
    tmp_path: Path, good: list[Path], untried: None, content: bytes
) -> None:
    settings = settings_for(tmp_path / "own", engine="auto")
    settings.cache_dir.mkdir(parents=True)
    (settings.cache_dir / "engines.json").write_bytes(content)
    cache, fetched = BundleCache(settings), []

    def fetch(into: Path) -> Path:
        fetched.append(1)
        return versions.copied(good[0], into)

    cache.bundle("v1", fetch)
    (settings.cache_dir / "v1.tried").write_bytes(content)
    cache.bundle("v1", fetch)
    assert len(fetched) == 2
    (settings.cache_dir / "last-here.json").write_bytes(content)
    assert cache.last("here") is None


def test_after_a_version_was_taken_back_or_refused_a_start_without_the_registry_serves_the_one_before(
    tmp_path: Path, good: list[Path]
) -> None:
    with following(tmp_path, good) as (shelf, client, readiness):
        shelf.put("3", version(tmp_path / "3", 3.0, versions.other_answer))
        shelf.alias = "3"
        assert readiness.look().change == "refused"
    with service(offline(tmp_path).source(), **settings_for(tmp_path).model_dump()) as client:
        assert served(client) == "1"
    with following(tmp_path, good) as (shelf, client, readiness):
        shelf.alias = "2"
        assert readiness.look().change == "switched"
        for _ in range(3):
            readiness.answered(readiness.loaded, failed=True)
        assert served(client) == "1"
        shelf.alias = "1"
        assert readiness.look().change == "unchanged"
    with service(offline(tmp_path).source(), **settings_for(tmp_path).model_dump()) as client:
        assert served(client) == "1"


def test_a_version_is_taken_back_for_what_it_fails_at_itself_and_for_nothing_else(
    tmp_path: Path, good: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    with following(tmp_path, good) as (shelf, client, readiness):
        shelf.alias = "2"
        assert readiness.look().change == "switched"

        def asked(**accept: str) -> list[int]:
            return [client.post("/predict", content=FILM, headers={**PNG, **accept}).status_code for _ in range(4)]

        assert asked(Accept="application/dicom") == [406] * 4  # there is no report of a PNG
        with monkeypatch.context() as beside:
            beside.setattr("serving.routes.predictions.read_upload", broken)
            assert asked() == [500] * 4
        assert served(client) == "2"
        with monkeypatch.context() as own:
            own.setattr("serving.routes.predictions.answer", broken)
            assert asked() == [500] * 4
        assert served(client) == "1"


@pytest.mark.parametrize("content", [None, b"no database at all, and long enough for a header" * 10])
def test_a_database_that_is_gone_is_a_registry_that_is_away_and_is_not_made_anew(tmp_path: Path, content: bytes | None) -> None:
    database = tmp_path / "mlflow.db"
    if content is not None:
        database.write_bytes(content)
    registry = Registry(Settings(tracking_uri=f"sqlite:///{database}", cache_dir=tmp_path / "cache"))
    with pytest.raises(RegistryAway, match="the registry does not answer"):
        registry.load()
    assert (database.read_bytes() if database.exists() else None) == content
