"""Rows of film stores are read where they lie, by every process from the same pages."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import rows as module
from training.data.rows import FilmRows, fits_in_memory


def two_stores(folder: Path) -> FilmRows:
    """Six films of two mapped stores, in mixed order."""
    stores = []
    for name, count in (("a", 5), ("b", 4)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 8, 8), dtype=np.uint8)
        pixels.tofile(folder / name)
        stores.append(np.memmap(folder / name, np.uint8, "r").reshape(-1, 8, 8))
    return FilmRows(stores, np.array([0, 1, 0, 1, 1, 0]), np.array([4, 0, 1, 3, 2, 0]))


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> FilmRows:
    return two_stores(tmp_path_factory.mktemp("stores"))


def test_one_film_is_a_view_of_its_slot_and_not_a_copy(mapped: FilmRows) -> None:
    for i, (owner, slot) in enumerate(zip(mapped.owners, mapped.slots, strict=True)):
        assert np.shares_memory(mapped[i], mapped.stores[owner])
        assert np.array_equal(mapped[i], mapped.stores[owner][slot])
    assert len(mapped) == 6 and mapped.shape == (6, 8, 8)


@given(st.lists(st.integers(0, 5), max_size=12))
@settings(max_examples=30, deadline=None)
def test_rows_and_slices_are_gathered_as_from_an_array(mapped: FilmRows, chosen: list[int]) -> None:
    whole = np.stack(list(mapped))
    assert np.array_equal(mapped[np.array(chosen, dtype=int)], whole[np.array(chosen, dtype=int)])
    assert np.array_equal(mapped[1:4], whole[1:4])


def test_sent_to_another_process_the_names_of_the_files_go_and_no_pixels(mapped: FilmRows) -> None:
    big = FilmRows([np.asarray(store) for store in mapped.stores], mapped.owners, mapped.slots)
    sent = pickle.dumps(mapped)
    assert mapped.stores[0].tobytes() not in sent and big.stores[0].tobytes() in pickle.dumps(big)
    there = pickle.loads(sent)
    assert isinstance(there.stores[0], np.memmap)
    assert np.array_equal(np.stack(list(there)), np.stack(list(mapped)))


def test_part_of_a_mapped_file_is_sent_as_pixels_because_the_name_would_give_other_films(mapped: FilmRows) -> None:
    part = FilmRows([mapped.stores[0][1:]], np.zeros(3, int), np.array([0, 1, 2]))
    assert np.array_equal(np.stack(list(pickle.loads(pickle.dumps(part)))), np.stack(list(part)))


def test_the_kernel_is_told_how_a_mapped_store_is_read(mapped: FilmRows) -> None:
    mapped.advise(True)
    mapped.advise(False)
    assert np.array_equal(mapped[0], mapped.stores[0][4])


def test_a_split_fits_up_to_half_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sysconf", {"SC_PAGE_SIZE": 4, "SC_PHYS_PAGES": 25}.__getitem__)
    assert fits_in_memory(50) and not fits_in_memory(51)
