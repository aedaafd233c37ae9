"""Manifest and journal: whatever is cut off, a film counts as ready only when its pixels are there."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tests.serving.tiny_bundle import SPEC
from tests.training.data.films.ground import handed_out, of_each
from training.data.cohort import Cohort
from training.data.films import FILMS, JOURNAL, MANIFEST, FilmStore, StoreDamaged, prepare_cohort
from training.data.films.manifest import Ledger, read_entries, read_header

ROWS = "abcdef"


def as_journal(store: FilmStore, drop: tuple[str, ...] = ()) -> Path:
    """The store as a kill leaves it before the journal is folded, without some fields of its lines."""
    lines = [
        json.dumps({name: value for name, value in store.entries[row].items() if name not in drop}) for row in ROWS
    ]  # fmt: skip
    (store.folder / MANIFEST).unlink()
    journal = store.folder / JOURNAL
    journal.write_text("\n".join(lines) + "\n")
    return journal


def handed_again(cohort: Cohort, store: FilmStore, segmenter: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    with monkeypatch.context() as patch:
        rows = handed_out(patch)
        prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1)
    return rows


@pytest.mark.parametrize("kept", [0, 1, 3, 5])
@pytest.mark.parametrize("torn", [0, 1, 40, -1], ids=["clean", "one-byte", "half-a-line", "no-line-end"])
def test_a_killed_preparation_goes_on_with_the_rest_and_ends_with_the_same_bytes(
    cohort: Cohort, store: FilmStore, segmenter: Path, kept: int, torn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, journal = of_each(store), as_journal(store)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:kept]) + lines[kept][:torn])
    first_bad = kept + (torn == -1)  # a line that only lacks its end is whole
    array = np.memmap(store.folder / FILMS, dtype=np.uint8, mode="r+").reshape(6, -1)
    array[first_bad:] = 13  # the kill came in the middle of writing pixels
    array.flush()
    assert handed_again(cohort, store, segmenter, monkeypatch) == list(ROWS[first_bad:])
    assert handed_again(cohort, store, segmenter, monkeypatch) == [], "a line written after a torn one was lost"
    opened = prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1)
    assert of_each(opened) == before and opened.entries == store.entries
    assert not journal.exists()


def test_a_kill_between_manifest_and_journal_leaves_both_and_they_agree(
    cohort: Cohort, store: FilmStore, segmenter: Path
) -> None:
    manifest, header = (store.folder / MANIFEST).read_bytes(), read_header(store.folder)
    as_journal(store)
    (store.folder / MANIFEST).write_bytes(manifest)
    assert prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1).entries == store.entries
    assert read_header(store.folder) == header and not (store.folder / JOURNAL).exists()


def test_a_store_from_before_there_was_a_manifest_is_converted_and_nothing_is_prepared_again(
    cohort: Cohort, store: FilmStore, segmenter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = of_each(store)
    as_journal(store, drop=("source", "by"))
    assert handed_again(cohort, store, segmenter, monkeypatch) == []
    assert not (store.folder / JOURNAL).exists()
    entries = read_entries(store.folder)
    assert {entry["source"] for entry in entries.values()} == {None}
    os.utime(cohort.rows[0].image, ns=(1, 1))  # no digest to compare with: prepared again, and has one from now on
    assert handed_again(cohort, store, segmenter, monkeypatch) == ["a"]
    assert read_entries(store.folder)["a"] == store.entries["a"] | {"modified": 1}
    assert of_each(prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1)) == before


def test_a_line_lost_in_the_middle_of_the_journal_gives_no_two_rows_one_slot(
    cohort: Cohort, store: FilmStore, segmenter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, journal = of_each(store), as_journal(store)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([lines[0], "\x00" * 30 + "\n", *lines[2:]]))
    assert handed_again(cohort, store, segmenter, monkeypatch) == ["b"]
    assert of_each(prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1)) == before


def test_the_manifest_says_what_the_store_was_made_with(store: FilmStore, segmenter: Path) -> None:
    header = read_header(store.folder)
    assert header["spec"] == SPEC.model_dump() and header["cohort"] == "tiny" and len(header["segmenter"]) == 64
    assert {entry["by"] for entry in store.entries.values()} == {"openvino float32"}
    assert {len(entry["source"]) for entry in store.entries.values()} == {64}


def test_a_store_whose_pixels_are_gone_is_refused_instead_of_giving_black_films(
    cohort: Cohort, store: FilmStore, segmenter: Path
) -> None:
    with (store.folder / FILMS).open("r+b") as films:
        films.truncate(5 * SPEC.size**2)
    with pytest.raises(StoreDamaged, match=r"films.u8 has 20,480 bytes, its 6 films take 24,576\. Remove that folder"):
        prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1)


@pytest.mark.parametrize("content, said", [(b'{"format": 7}', "format 7, this version reads 1"), (b"{", "no JSON")])
def test_a_manifest_that_cannot_be_read_is_refused(
    content: bytes, said: str, cohort: Cohort, store: FilmStore, segmenter: Path
) -> None:
    (store.folder / MANIFEST).write_bytes(content)
    with pytest.raises(StoreDamaged, match=said):
        prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1)


def test_entries_of_a_published_cohort_are_read_in_milliseconds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, 64)
    slots = ledger.slots(f"film-{i:05}.png" for i in range(6293))
    box, digest = [10, 20, 900, 910], "5" * 64
    with ledger:
        for row, slot in slots.items():
            entry = {
                "row": row,
                "slot": slot,
                "bytes": 10**6,
                "modified": 1_700_000_000_000_000_000,
                "source": digest,
                "by": "x y",
            }
            ledger.add(entry | {"digest": digest, "verdict": "both-lungs", "box": box, "coverage": 0.31})
    ledger.fold({})
    took = []
    for _ in range(5):
        begun = time.process_time()
        read = read_entries(tmp_path)
        took.append(time.process_time() - begun)
    assert read == ledger.entries and len(read) == 6293
    assert min(took) < 0.15  # 13 ms; with the question for each file's size and time the goal is 50
    shutil.rmtree(tmp_path)
