"""Stores on the shelf: what they hold, and dropping one."""

from pathlib import Path

import pytest

from tests.serving.tiny_bundle import SPEC
from training.data.cohort import Cohort
from training.data.films import MANIFEST, FilmStore, prepare_cohort
from training.data.films.shelf import StoreInUse, drop, lock, shelved


def test_a_store_is_listed_with_what_it_holds_and_what_made_it(store: FilmStore) -> None:
    (found,) = shelved(store.folder.parent)
    assert (found.cohort, found.size, found.films, found.failures) == ("tiny", 64, 6, 2)
    assert found.spec == SPEC and found.ways == ("openvino float32",) and not found.damage
    assert found.taken >= 4 * 64 * 64


def test_only_stores_are_listed(store: FilmStore, tmp_path: Path) -> None:
    root = store.folder.parent
    (root / "something else").mkdir()
    (root / "engines-0123456789ab.json").write_text("[]")
    assert [found.folder for found in shelved(root)] == [store.folder]
    assert shelved(tmp_path / "nowhere") == []


def test_a_damaged_store_is_listed_with_the_reason_and_can_be_dropped(store: FilmStore) -> None:
    (store.folder / MANIFEST).write_text("{")
    (found,) = shelved(store.folder.parent)
    assert "no JSON" in found.damage and found.films == 0
    drop(found)
    assert not store.folder.exists()


def test_dropping_one_store_leaves_the_others(cohort: Cohort, store: FilmStore, segmenter: Path) -> None:
    root = store.folder.parent
    other = prepare_cohort(cohort, root, SPEC.model_copy(update={"margin": 0.2}), segmenter, 1)
    drop(next(found for found in shelved(root) if found.folder == store.folder))
    assert [found.folder for found in shelved(root)] == [other.folder]
    assert prepare_cohort(cohort, root, SPEC, segmenter, 1).entries == store.entries


def test_a_store_that_is_being_prepared_is_not_dropped(store: FilmStore) -> None:
    (found,) = shelved(store.folder.parent)
    with lock(store.folder.parent, "tiny"), pytest.raises(StoreInUse, match="is being prepared"):
        drop(found)
    assert store.folder.exists()
