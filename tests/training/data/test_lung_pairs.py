"""Film-and-mask pairs: a bad folder is refused with everything that is wrong, and a person is never on two sides."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from training.data.cohort import CohortError
from training.data.lung_pairs import (
    BEHIND_HEART,
    SPELLINGS,
    WITHOUT_HEART,
    LungPair,
    agreement,
    load_arrays,
    read_pairs,
    split_pairs,
)

REAL = Path(os.environ.get("MDMT_REAL_CXR", Path(__file__).parents[4] / "shared/data/real-cxr")) / "lung-masks"


def write_folder(root: Path, rows: list[dict[str, str]]) -> Path:
    """A folder of pairs: gradients of 90×80 pixels with one bright lung; `rows` overrides columns of each pair."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    lung = np.zeros((90, 80), np.uint8)
    lung[20:70, 10:35] = 255
    listed = []
    for i, changes in enumerate(rows):
        defaults = {"id": f"p{i}", "image": f"images/p{i}.png", "mask": f"masks/p{i}.png", "patient_id": f"PATIENT-{i}"}
        listed.append(defaults | {"dataset": "TEST", "definition": BEHIND_HEART} | changes)
        film = np.linspace(0, 200, 90 * 80).reshape(90, 80) + lung / 8
        Image.fromarray(film.astype(np.uint8)).save(root / f"images/p{i}.png")
        Image.fromarray(lung).save(root / f"masks/p{i}.png")
    with (root / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, listed[0])
        writer.writeheader()
        writer.writerows(listed)
    return root


def test_pairs_are_read_sorted_with_one_spelling_per_definition(tmp_path: Path) -> None:
    rows = [{"id": "b", "definition": "lung fields without heart (classical)"}, {"id": "a"}]
    pairs = read_pairs(write_folder(tmp_path / "f", rows))
    assert [(pair.id, pair.definition) for pair in pairs] == [("a", BEHIND_HEART), ("b", WITHOUT_HEART)]


def test_every_problem_of_a_folder_is_named_at_once(tmp_path: Path) -> None:
    rows = [
        {"id": "twice"},
        {"id": "twice"},
        {"id": "odd", "definition": "lobes"},
        {"id": "nobody", "patient_id": " "},
        {"id": "gone", "image": "images/gone.png", "mask": "masks/gone.png"},
    ]
    with pytest.raises(CohortError) as refused:
        read_pairs(write_folder(tmp_path / "f", rows))
    text = str(refused.value)
    files = ("image images/gone.png is missing", "mask masks/gone.png is missing")
    for expected in ("twice: listed 2 times", "'lobes' is unknown", "nobody: patient_id is empty", *files):
        assert expected in text
    assert len(refused.value.problems) == 5


def test_a_folder_without_a_table_or_columns_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="is not there"):
        read_pairs(tmp_path)
    (tmp_path / "pairs.csv").write_text("id,image,mask,patient_id\n")
    with pytest.raises(CohortError, match=r"pairs\.csv has no column definition; found: id, image, mask, patient_id"):
        read_pairs(tmp_path)
    (tmp_path / "pairs.csv").write_text("id,image,mask,patient_id,definition\n")
    with pytest.raises(CohortError, match="no rows"):
        read_pairs(tmp_path)


def test_a_row_that_ends_early_is_named_by_its_number_with_what_it_lacks(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "f", [{}, {}])
    table = root / "pairs.csv"
    table.write_text("id,image,mask,patient_id,definition\np0,images/p0.png,masks/p0.png,P\np1\n")
    with pytest.raises(CohortError) as refused:
        read_pairs(root)
    assert [problem.split(";")[0] for problem in refused.value.problems] == [
        "pairs.csv row 2: nothing in definition",
        "pairs.csv row 3: nothing in image, mask, definition",
    ]


def test_the_table_may_be_written_as_those_of_cohorts_and_other_encodings_are_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "f", [{}, {"definition": WITHOUT_HEART}])
    table, expected = root / "pairs.csv", read_pairs(root)
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(",", ";").replace("patient_id", "Patient ID") + ";;;;;\n", encoding="utf-8-sig")
    assert read_pairs(root) == expected
    table.write_text(text.replace("TEST", "Köln"), encoding="latin-1")
    with pytest.raises(CohortError, match=r"pairs\.csv is not UTF-8"):
        read_pairs(root)


def pair(number: int, patient: int, definition: str) -> LungPair:
    return LungPair(f"p{number}", Path("i"), Path("m"), f"P{patient}", definition)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([BEHIND_HEART, WITHOUT_HEART])), max_size=60),
    st.integers(0, 2**31),
    st.randoms(use_true_random=False),
)
def test_a_split_keeps_patients_together_uses_every_pair_and_ignores_order(drawn, seed, shuffler) -> None:
    floor = [(100 + i, BEHIND_HEART) for i in range(3)] + [(200 + i, WITHOUT_HEART) for i in range(3)]
    pairs = [pair(i, patient, definition) for i, (patient, definition) in enumerate(drawn + floor)]
    split = split_pairs(pairs, seed)
    patients = [{pair.patient for pair in part} for part in (split.train, split.val, split.test)]
    assert all(patients)
    assert sum(map(len, patients)) == len(set.union(*patients))
    assert sorted(p.id for part in (split.train, split.val, split.test) for p in part) == sorted(p.id for p in pairs)
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    assert split_pairs(shuffled, seed) == split


def test_the_shares_are_70_15_15_of_the_patients_and_the_seed_moves_them() -> None:
    pairs = [pair(i, i, BEHIND_HEART) for i in range(100)]
    split = split_pairs(pairs, seed=0)
    assert [len(part) for part in (split.train, split.val, split.test)] == [70, 15, 15]
    assert split.test != split_pairs(pairs, seed=1).test


def test_too_few_patients_for_three_roles_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 patient\(s\).*at least three"):
        split_pairs([pair(0, 0, BEHIND_HEART), pair(1, 1, BEHIND_HEART)], seed=0)


def test_arrays_have_the_size_asked_for_and_the_mask_stays_on_its_lung(tmp_path: Path) -> None:
    arrays = load_arrays(read_pairs(write_folder(tmp_path / "f", [{}, {}])), size=64)
    assert arrays.films.shape == arrays.lungs.shape == (2, 64, 64)
    assert arrays.films.dtype == np.uint8
    assert arrays.lungs[0, 32, 16]
    assert not arrays.lungs[0, 32, 40]
    assert arrays.lungs[0].mean() == pytest.approx(50 * 25 / (90 * 80), abs=0.01)


def test_a_mask_of_another_size_than_its_film_is_refused_by_id(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "f", [{}])
    Image.new("L", (80, 91)).save(root / "masks/p0.png")
    with pytest.raises(CohortError, match=r"p0: the mask is \(80, 91\), its film \(80, 90\)"):
        load_arrays(read_pairs(root), size=64)


def test_a_second_annotator_and_the_collection_are_read_where_the_table_has_them(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "f", [{"second_mask": "masks/p1.png"}, {"second_mask": ""}])
    first, other = read_pairs(root)
    assert (first.second, other.second, first.source) == (root / "masks/p1.png", None, "TEST")
    assert agreement(first, 64) == 1.0
    half = np.zeros((90, 80), np.uint8)
    half[20:45, 10:35] = 255
    Image.fromarray(half).save(root / "masks/p1.png")
    assert agreement(first, 64) == pytest.approx(2 / 3, abs=0.02)
    with pytest.raises(ValueError, match="p1 has no second mask"):
        agreement(other, 64)
    Image.new("L", (80, 91)).save(root / "masks/p1.png")
    with pytest.raises(CohortError, match=r"p0: the second mask is \(80, 91\)"):
        agreement(first, 64)


def test_a_second_mask_that_is_listed_and_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"p0: second mask masks/none\.png is missing"):
        read_pairs(write_folder(tmp_path / "f", [{"second_mask": "masks/none.png"}]))


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder with real films and masks is not here (MDMT_REAL_CXR)")
def test_the_real_folder_has_both_definitions_in_every_part() -> None:
    pairs = read_pairs(REAL)
    assert len(pairs) == 493
    split = split_pairs(pairs, seed=0)
    for part in (split.train, split.val, split.test):
        assert {pair.definition for pair in part} == set(SPELLINGS.values())
