"""Preparing films: each once, from where it was cut off, and never one row's pixels in another's slot."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cxr.pipeline import prepare
from cxr.segmentation import OnnxSegmenter
from tests.serving.tiny_bundle import SPEC, encoded, film
from tests.training.data.films.ground import BAD, handed_out, of_each, small_cohort
from training.data.cohort import Cohort
from training.data.films import FILMS, JOURNAL, FilmStore, PreparationDied, is_prepared, prepare_cohort, preparing, work
from training.data.films.manifest import read_journal


@pytest.fixture
def handed(store: FilmStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is taken in hand after the store was made."""
    return handed_out(monkeypatch)


def again(cohort: Cohort, store: FilmStore, segmenter: Path) -> FilmStore:
    return prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1)


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


def test_a_second_call_prepares_nothing_and_tells_progress_nothing(
    cohort: Cohort, store: FilmStore, segmenter: Path, handed: list[str]
) -> None:
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    told: list[tuple[int, int]] = []
    opened = prepare_cohort(cohort, store.folder.parent, SPEC, segmenter, 1, lambda *step: told.append(step))
    assert told == handed == []
    assert opened.entries == store.entries
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before
    assert is_prepared(cohort, store.folder.parent, SPEC, segmenter)


def test_progress_counts_to_the_whole_cohort(cohort: Cohort, tmp_path: Path, segmenter: Path) -> None:
    told: list[tuple[int, int]] = []
    prepare_cohort(cohort, tmp_path / "other", SPEC, segmenter, 1, lambda *step: told.append(step))
    assert told == [(i, 6) for i in range(1, 7)]


def test_only_a_file_whose_bytes_changed_is_prepared_again_into_its_own_slot(
    cohort: Cohort, store: FilmStore, segmenter: Path, handed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, made = of_each(store), list[bytes]()
    real = work.prepare
    monkeypatch.setattr(work, "prepare", lambda data, *rest, **options: made.append(data) or real(data, *rest, **options))
    changed = encoded(film(seed=77))
    cohort.rows[1].image.write_bytes(changed)
    os.utime(cohort.rows[3].image, ns=(1, 1))  # touched only: read again, and found to be the same
    opened = again(cohort, store, segmenter)
    assert handed == ["b", "d"] and made == [changed]
    after = of_each(opened)
    assert after.pop("b") != before.pop("b") and after == before
    assert opened.entries["b"]["slot"] == store.entries["b"]["slot"]
    assert opened.entries["d"] == store.entries["d"] | {"modified": 1}
    again(cohort, opened, segmenter)
    assert handed == ["b", "d"]


def test_a_film_that_turns_bad_leaves_no_old_pixels_and_one_that_turns_good_becomes_usable(
    cohort: Cohort, store: FilmStore, segmenter: Path
) -> None:
    cohort.rows[0].image.write_bytes(BAD["e"])
    cohort.rows[4].image.write_bytes(encoded(film(seed=4)))
    opened = again(cohort, store, segmenter)
    assert sorted(opened.usable) == ["b", "d", "e", "f"]
    assert not opened.pixels()[opened.entries["a"]["slot"]].any()


def test_new_rows_come_behind_the_old_ones_and_rows_that_left_are_not_shown(
    cohort: Cohort, store: FilmStore, segmenter: Path, tmp_path: Path, handed: list[str]
) -> None:
    before = of_each(store)
    (tmp_path / "0.png").write_bytes(encoded(film(seed=50)))
    first = replace(cohort.rows[0], id="0", image=tmp_path / "0.png")
    opened = again(replace(cohort, rows=(first, *cohort.rows[1:])), store, segmenter)
    assert handed == ["0"]
    assert opened.entries["0"]["slot"] == 6 and "a" not in opened.entries
    after = of_each(opened)
    assert {row: after[row] for row in "bdf"} == {row: before[row] for row in "bdf"}
    assert of_each(again(cohort, opened, segmenter)) == before
    assert handed == ["0"]


def test_another_spec_or_segmenter_is_another_store(cohort: Cohort, store: FilmStore, segmenter: Path, tmp_path: Path) -> None:
    other = prepare_cohort(cohort, store.folder.parent, SPEC.model_copy(update={"margin": 0.2}), segmenter, 1)
    retrained = tmp_path / "other.onnx"
    retrained.write_bytes(segmenter.read_bytes() + b"\x7a\x00")  # a field that ONNX does not know: another file, the same graph
    third = prepare_cohort(cohort, store.folder.parent, SPEC, retrained, 1)
    assert len({store.folder, other.folder, third.folder}) == 3
    assert of_each(other) != of_each(store)


def test_in_this_process_and_in_one_or_two_others_the_films_are_the_same(tmp_path: Path, segmenter: Path) -> None:
    cohort = small_cohort(tmp_path / "images", preparing.FEW + 2)
    stores = [prepare_cohort(cohort, tmp_path / f"with-{workers}", SPEC, segmenter, workers) for workers in (1, 2)]
    first = replace(cohort, rows=cohort.rows[: preparing.FEW])
    here = prepare_cohort(first, tmp_path / "here", SPEC, segmenter, 2)
    assert of_each(stores[0]) == of_each(stores[1])
    assert of_each(here).items() <= of_each(stores[0]).items()
    assert stores[0].entries == stores[1].entries
    assert not (stores[0].folder / JOURNAL).exists()


def test_a_process_that_dies_is_named_with_what_it_had_in_hand_and_the_rest_is_kept(
    tmp_path: Path, segmenter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = small_cohort(tmp_path / "images", preparing.FEW + 20)
    done: list[int] = []

    def progress(finished: int, total: int) -> None:
        done.append(finished)
        if finished == 8:
            for child in children(os.getpid()):
                os.kill(child, signal.SIGKILL)

    with pytest.raises(PreparationDied, match=r"killed or crashed .* in hand: \d"):
        prepare_cohort(cohort, tmp_path / "store", SPEC, segmenter, 1, progress)
    handed = handed_out(monkeypatch)
    monkeypatch.setattr(preparing, "FEW", 100)
    store = prepare_cohort(cohort, tmp_path / "store", SPEC, segmenter, 1)
    assert handed == [row.id for row in cohort.rows[done[-1] :]]
    assert len(of_each(store)) == len(cohort.rows)


def children(of: int) -> list[int]:
    """Preparing processes that it has started."""
    listed = Path(f"/proc/{of}/task/{of}/children").read_text().split()
    return [int(pid) for pid in listed if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


KILLED = """
import sys
from pathlib import Path
from tests.serving.tiny_bundle import SPEC
from tests.training.data.films.ground import small_cohort
from training.data.films import prepare_cohort, preparing

if __name__ == "__main__":
    folder, segmenter = Path(sys.argv[1]), Path(sys.argv[2])
    prepare_cohort(small_cohort(folder / "images", 400), folder / "store", SPEC, segmenter, 2)
"""


@pytest.mark.slow
def test_kill_minus_nine_leaves_no_process_behind_and_the_next_call_goes_on_where_it_stopped(
    tmp_path: Path, segmenter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), str(segmenter)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(preparing.__file__).parents[3])}) as process:
        journals = list[Path]()
        while not any(len(read_journal(path)) >= 40 for path in journals):
            journals = list((tmp_path / "store").glob(f"*/{JOURNAL}"))
            assert process.poll() is None
            time.sleep(0.05)
        mine = children(process.pid)
        process.kill()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in mine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in mine if Path(f"/proc/{pid}").exists()]
    ready = len(read_journal(journals[0]))
    handed = handed_out(monkeypatch)
    monkeypatch.setattr(preparing, "FEW", 400)
    store = prepare_cohort(small_cohort(tmp_path / "images", 400), tmp_path / "store", SPEC, segmenter, 1)
    assert 40 <= ready < 400 and len(handed) == 400 - ready
    assert len(of_each(store)) == 400


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_films(tmp_path: Path, segmenter: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(MEMORY)
    environment = os.environ | {"PYTHONPATH": str(Path(preparing.__file__).parents[3])}
    command = [sys.executable, str(script), str(tmp_path), str(segmenter)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    early, late = map(int, told.split())
    assert late - early < 4 * 1024, (early, late)


# KiB of the process that asks and of the one that prepares, together, after 50 and after 400 films.
MEMORY = """
import os, re, sys
from pathlib import Path
from tests.serving.tiny_bundle import SPEC
from tests.training.data.films.ground import small_cohort
from tests.training.data.films.test_preparing import children
from training.data.films import prepare_cohort, preparing

if __name__ == "__main__":
    folder = Path(sys.argv[1])

    def progress(done, total):
        if done in (50, total):
            read = [Path(f"/proc/{pid}/status").read_text() for pid in (os.getpid(), *children(os.getpid()))]
            print(sum(int(re.search(r"VmRSS:\\s+(\\d+)", status)[1]) for status in read))

    preparing.WORTH = 1000  # engines are compared in a process of its own, which comes and goes
    prepare_cohort(small_cohort(folder / "images", 400), folder / "store", SPEC, Path(sys.argv[2]), 1, progress)
"""


def test_the_array_is_as_long_as_its_slots(store: FilmStore) -> None:
    assert (store.folder / FILMS).stat().st_size == 6 * SPEC.size**2
