"""The film store: prepared once, goes on where it was killed, and never gives one row the pixels of another."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr.pipeline import prepare
from cxr.segmentation import OnnxSegmenter
from tests.serving.tiny_bundle import SPEC, encoded, film, write_bundle
from training.data import films
from training.data.cohort import Cohort, Row
from training.data.films import FILMS, JOURNAL, FilmStore, prepare_cohort

BAD = {"c": encoded(film(lungs=0)), "e": b"no film at all"}


class OneProcess:
    """What the store needs of a pool of processes, in this one: starting real ones takes seconds."""

    def __init__(self, workers: int, context: object, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
        initializer(*initargs)

    def __enter__(self) -> "OneProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], chunksize: int) -> Iterator[Any]:
        return map(function, items)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle")) / "segmenter.onnx"


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """Six films, c without lungs and e no picture."""
    rows = []
    for seed, name in enumerate("abcdef"):
        image = tmp_path / f"{name}.png"
        image.write_bytes(BAD.get(name, encoded(film(seed=seed))))
        rows.append(Row(name, image, f"p{name}", "A", {"prognosis": seed % 2}))
    return Cohort("tiny", tuple(rows))


@pytest.fixture
def store(cohort: Cohort, tmp_path: Path, segmenter: Path, monkeypatch: pytest.MonkeyPatch) -> FilmStore:
    monkeypatch.setattr(films, "ProcessPoolExecutor", OneProcess)
    return prepare_cohort(cohort, tmp_path / "store", SPEC, segmenter, 1)


def again(cohort: Cohort, store: FilmStore, segmenter: Path) -> tuple[FilmStore, list[str]]:
    """Prepare once more; the store and the rows that got a new journal line."""
    before = len(store.folder.joinpath(JOURNAL).read_text().splitlines())
    opened = prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1)
    lines = opened.folder.joinpath(JOURNAL).read_text().splitlines()[before:]
    return opened, [json.loads(line)["row"] for line in lines if line]


def of_each(store: FilmStore) -> dict[str, bytes]:
    """The stored pixels of every usable row; they must be what its digest says."""
    pixels = store.pixels()
    assert len({entry["slot"] for entry in store.entries.values()}) == len(store.entries)
    for entry in store.usable.values():
        assert entry["digest"] == hashlib.sha256(pixels[entry["slot"]].tobytes()).hexdigest()
    return {row: pixels[entry["slot"]].tobytes() for row, entry in store.usable.items()}


def test_the_store_holds_what_the_image_path_gives_for_each_file(store: FilmStore, cohort: Cohort, segmenter: Path) -> None:
    stored, graph = of_each(store), OnnxSegmenter.from_file(segmenter)
    for row in cohort.rows:
        if row.id in stored:
            made = prepare(row.image.read_bytes(), SPEC, graph)
            assert stored[row.id] == made.pixels.tobytes()
            assert store.entries[row.id]["box"] == list(made.box)
            assert store.entries[row.id]["verdict"] == str(made.verdict)
    assert not store.pixels().flags.writeable


def test_failures_are_counted_and_explained_and_nothing_stands_in_for_them(store: FilmStore) -> None:
    assert sorted(store.usable) == ["a", "b", "d", "f"]
    assert {row: entry["error"] for row, entry in store.failures.items()} == {"c": "no-lungs", "e": "unsupported-format"}
    assert "No lungs found" in store.failures["c"]["message"] and "digest" not in store.failures["c"]
    assert store.verdicts() == {"both-lungs": 4, "no-lungs": 1, "unsupported-format": 1}
    assert not store.pixels()[[store.entries[row]["slot"] for row in "ce"]].any()


def test_a_second_call_prepares_nothing_and_tells_progress_nothing(cohort: Cohort, store: FilmStore, segmenter: Path) -> None:
    before = (store.folder / FILMS).read_bytes()
    told: list[tuple[int, int]] = []
    opened = prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1, lambda *step: told.append(step))
    assert told == []
    assert opened.entries == store.entries and (store.folder / FILMS).read_bytes() == before


def test_progress_counts_to_the_whole_cohort(cohort: Cohort, tmp_path: Path, store: FilmStore, segmenter: Path) -> None:
    told: list[tuple[int, int]] = []
    prepare_cohort(cohort, tmp_path / "other", SPEC, segmenter, 1, lambda *step: told.append(step))
    assert told == [(i, 6) for i in range(1, 7)]


def test_only_a_file_that_changed_is_prepared_again_into_its_own_slot(cohort: Cohort, store: FilmStore, segmenter: Path) -> None:
    before = of_each(store)
    cohort.rows[1].image.write_bytes(encoded(film(seed=77)))
    os.utime(cohort.rows[3].image, ns=(1, 1))  # touched only: prepared again, with the same result
    opened, prepared = again(cohort, store, segmenter)
    assert prepared == ["b", "d"]
    after = of_each(opened)
    assert after.pop("b") != before.pop("b") and after == before
    assert opened.entries["b"]["slot"] == store.entries["b"]["slot"]
    assert again(cohort, opened, segmenter)[1] == []


def test_a_film_that_turns_bad_leaves_no_old_pixels_and_one_that_turns_good_becomes_usable(
    cohort: Cohort, store: FilmStore, segmenter: Path
) -> None:
    cohort.rows[0].image.write_bytes(BAD["e"])
    cohort.rows[4].image.write_bytes(encoded(film(seed=4)))
    opened, _ = again(cohort, store, segmenter)
    assert sorted(opened.usable) == ["b", "d", "e", "f"]
    assert not opened.pixels()[opened.entries["a"]["slot"]].any()


def test_new_rows_come_behind_the_old_ones_and_rows_that_left_are_not_shown(
    cohort: Cohort, store: FilmStore, segmenter: Path, tmp_path: Path
) -> None:
    before = of_each(store)
    (tmp_path / "0.png").write_bytes(encoded(film(seed=50)))
    first = replace(cohort.rows[0], id="0", image=tmp_path / "0.png")
    opened, prepared = again(replace(cohort, rows=(first, *cohort.rows[1:])), store, segmenter)
    assert prepared == ["0"]
    assert opened.entries["0"]["slot"] == 6 and "a" not in opened.entries
    after = of_each(opened)
    assert {row: after[row] for row in "bdf"} == {row: before[row] for row in "bdf"}
    back, prepared = again(cohort, opened, segmenter)
    assert prepared == [] and of_each(back) == before


@pytest.mark.parametrize("kept", [0, 1, 3, 5])
@pytest.mark.parametrize("torn", [0, 1, 40, -1], ids=["clean", "one-byte", "half-a-line", "no-line-end"])
def test_a_killed_preparation_goes_on_with_the_rest_and_ends_with_the_same_bytes(
    cohort: Cohort, store: FilmStore, segmenter: Path, kept: int, torn: int
) -> None:
    before, journal = of_each(store), store.folder / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:kept]) + lines[kept][:torn])
    array = np.memmap(store.folder / FILMS, dtype=np.uint8, mode="r+").reshape(6, -1)
    array[kept:] = 13  # the kill came in the middle of writing pixels
    array.flush()
    cut_line_is_whole = torn == -1
    if cut_line_is_whole:
        array[kept] = np.frombuffer(before[cohort.rows[kept].id], np.uint8) if cohort.rows[kept].id in before else 0
        array.flush()
    prepared = resumed(cohort, store, segmenter)
    assert prepared == [row.id for row in cohort.rows[kept + cut_line_is_whole :]]
    opened, prepared = again(cohort, store, segmenter)
    assert prepared == [], "a line written after a torn one was lost"
    assert of_each(opened) == before and opened.failures == store.failures


def resumed(cohort: Cohort, store: FilmStore, segmenter: Path) -> list[str]:
    """Prepare what is missing; the rows that progress was told of, in order."""
    told: list[int] = []
    prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1, lambda done, _: told.append(done))
    return [row.id for row in cohort.rows[len(cohort.rows) - len(told) :]]


def test_a_line_lost_in_the_middle_of_the_journal_gives_no_two_rows_one_slot(
    cohort: Cohort, store: FilmStore, segmenter: Path
) -> None:
    before, journal = of_each(store), store.folder / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([lines[0], "\x00" * 30 + "\n", *lines[2:]]))
    opened, prepared = again(cohort, store, segmenter)
    assert prepared == ["b"]
    assert of_each(opened) == before


def test_another_spec_or_segmenter_is_another_store(
    cohort: Cohort, store: FilmStore, segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = prepare_cohort(cohort, store.folder.parent, SPEC.model_copy(update={"margin": 0.2}), segmenter, 1)
    monkeypatch.setattr(films, "_prepared", lambda *_: iter([]))
    retrained = tmp_path / "other.onnx"
    retrained.write_bytes(segmenter.read_bytes() + b"\x00")
    with pytest.raises(KeyError):
        prepare_cohort(cohort, store.folder.parent, SPEC, retrained, 1)
    assert len(list(store.folder.parent.iterdir())) == 3
    assert other.folder != store.folder and of_each(other) != of_each(store)


def test_one_and_two_real_processes_give_the_same_store(
    cohort: Cohort, tmp_path: Path, segmenter: Path, store: FilmStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for workers in (1, 2):
        other = prepare_cohort(cohort, tmp_path / f"with-{workers}", SPEC, segmenter, workers)
        assert (other.folder / FILMS).read_bytes() == (store.folder / FILMS).read_bytes()
        assert (other.folder / JOURNAL).read_text() == (store.folder / JOURNAL).read_text()
        shutil.rmtree(other.folder)
