from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr.tasks import severity_category
from training.data.cohort import CohortError
from training.data.cohorts import brixia

COLUMNS = ["Filename", "StudyDate", "Manufacturer", "BrixiaScore", "BrixiaScoreGlobal", "ConsensusTestset", "Subject", "Sex"]
BIG = "18446744073709551615"  # ids exceed what a signed 64-bit integer or a float can hold


def write(
    root: Path,
    *rows: list[str],
    columns: list[str] = COLUMNS,
    separator: str = ";",
    encoding: str = "utf-8-sig",
    version: int = 2,
) -> Path:
    (root / "dicom_clean").mkdir(parents=True, exist_ok=True)
    lines = [separator.join(row) for row in (columns, *rows)]
    (root / f"metadata_global_v{version}.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
    for row in rows:
        (root / "dicom_clean" / row[0]).touch()
    return root


def row(
    file: str = "7.dcm",
    maker: str = "SIEMENS",
    score: str = "122123",
    total: str = "11",
    consensus: str = "0",
    subject: str = "s1",
) -> list[str]:
    return [file, "20200301", maker, score, total, consensus, subject, "M"]


def problems(root: Path, **options: object) -> str:
    with pytest.raises(CohortError) as caught:
        brixia.load(root, **options)
    return "\n".join(caught.value.problems)


def test_films_have_the_subject_as_patient_and_the_category_of_their_score(tmp_path: Path) -> None:
    cohort = brixia.load(write(tmp_path, row(), row("8.dcm", score="1", total="1"), row(f"{BIG}.dcm", subject="s2")))
    assert [film.id for film in cohort.rows] == [BIG, "7", "8"]
    assert [film.patient for film in cohort.rows] == ["brixia:s2", "brixia:s1", "brixia:s1"]
    assert [film.labels for film in cohort.rows] == [{"severity": 2}, {"severity": 2}, {"severity": 0}]
    assert cohort.rows[2].attributes == {"zones": "000001", "global": "1", "consensus": "0", "sex": "M"}
    assert cohort.rows[2].image == tmp_path / "dicom_clean" / "8.dcm"


def test_zones_and_global_score_are_further_labels_whatever_the_bounds_of_the_category(tmp_path: Path) -> None:
    (film,) = brixia.load(write(tmp_path, row()), bounds=(5, 10, 15)).rows
    zones = {f"zone-{zone}": score for zone, score in zip("abcdef", (1, 2, 2, 1, 2, 3), strict=True)}
    assert film.further == {**zones, "global": 11}


@pytest.mark.parametrize(("separator", "encoding", "version"), [(";", "utf-8-sig", 2), (";", "utf-8", 2), (",", "utf-8", 1)])
def test_separator_and_byte_order_mark_do_not_matter(tmp_path: Path, separator: str, encoding: str, version: int) -> None:
    write(tmp_path, row(), separator=separator, encoding=encoding, version=version)
    assert brixia.load(tmp_path).counts()["films"] == {"all": 1}


def test_a_separator_at_the_end_of_the_rows_does_not_shift_the_columns(tmp_path: Path) -> None:
    write(tmp_path, row())
    path = tmp_path / "metadata_global_v2.csv"
    header, line = path.read_text(encoding="utf-8-sig").splitlines()
    path.write_text(f"{header}\n{line};\n")
    assert brixia.load(tmp_path).rows[0].id == "7"


def test_a_row_with_more_cells_than_columns_is_refused(tmp_path: Path) -> None:
    assert "row 3 has more cells than the 8 columns" in problems(write(tmp_path, row(), [*row("8.dcm"), "x"]))


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [*row(), "s9"], columns=[*COLUMNS, "Subject"])
    assert "has 2 columns for Subject (Subject, Subject); keep one" in problems(tmp_path)


@pytest.mark.parametrize(
    ("spelled", "centre"),
    [
        ("SIEMENS", "SIEMENS"),
        ("Siemens ", "SIEMENS"),
        ("Agfa-Gevaert", "AGFA"),
        ("agfa", "AGFA"),
        ("Carestream Health", "CARESTREAM"),
        ("Villa Sistemi Medicali", "VSM"),
        ("KODAK", "KODAK"),
        ("FUJIFILM Corporation", "FUJIFILM"),
        ("Digitec", "DIGITEC"),
        ("Acme  Röntgen", "ACME RÖNTGEN"),
    ],
)
def test_the_centre_is_the_group_of_the_manufacturer_or_its_own_name(tmp_path: Path, spelled: str, centre: str) -> None:
    assert brixia.load(write(tmp_path, row(maker=spelled))).rows[0].centre == centre


@pytest.mark.parametrize(("consensus", "ids"), [("keep", ["7", "8"]), ("exclude", ["7"]), ("only", ["8"])])
def test_the_consensus_films_can_be_kept_excluded_or_loaded_alone(tmp_path: Path, consensus: str, ids: list[str]) -> None:
    write(tmp_path, row(), row("8.dcm", consensus="1"))
    assert [film.id for film in brixia.load(tmp_path, consensus).rows] == ids


def test_an_unknown_wish_for_the_consensus_films_is_refused(tmp_path: Path) -> None:
    assert "allowed: keep, exclude, only" in problems(write(tmp_path, row()), consensus="drop")


def test_the_bounds_of_the_categories_can_be_those_of_the_authors_code_and_the_films_say_so(tmp_path: Path) -> None:
    write(tmp_path, row(score="333000", total="9"), row("8.dcm", score="333320", total="14"), row("9.dcm"))
    papers, authors = (brixia.load(tmp_path, **options) for options in ({}, {"bounds": [5, 10, 15]}))
    assert [film.labels["severity"] for film in papers.rows] == [2, 3, 2]
    assert [film.labels["severity"] for film in authors.rows] == [1, 2, 2]
    assert [film.attributes.get("bounds") for film in (*papers.rows, *authors.rows)] == [None] * 3 + ["5,10,15"] * 3
    assert [film.attributes["zones"] for film in authors.rows] == [film.attributes["zones"] for film in papers.rows]
    assert brixia.load(tmp_path, bounds=(5, 9, 14)) == papers


def test_bounds_that_are_none_are_refused_once_and_not_per_film(tmp_path: Path) -> None:
    assert problems(write(tmp_path, row(), row("8.dcm")), bounds=(9, 5, 14)).count("severity bounds (9, 5, 14)") == 1


def test_the_consensus_films_cannot_be_excluded_without_the_column(tmp_path: Path) -> None:
    columns = ["Filename", "Manufacturer", "BrixiaScore", "Subject"]
    write(tmp_path, ["7.dcm", "AGFA", "000000", "s"], columns=columns)
    assert brixia.load(tmp_path).rows[0].attributes == {"zones": "000000", "global": "0"}
    assert "needs the column ConsensusTestset" in problems(tmp_path, consensus="exclude")


def test_every_bad_row_is_listed_at_once_with_its_row_number(tmp_path: Path) -> None:
    write(
        tmp_path,
        row("1.dcm", total="12"),
        row("2.dcm", score="444444", total=""),
        row("3.dcm", score="", total="0"),
        row("4.dcm", subject=""),
        row("5.dcm", maker=" "),
        row("6.dcm", consensus="yes"),
        row("7.dcm"),
        row("7.dcm"),
        row("8.dcm"),
    )
    (tmp_path / "dicom_clean" / "8.dcm").unlink()
    listed = problems(tmp_path)
    assert "row 2: BrixiaScoreGlobal is 12 and the zones of BrixiaScore sum to 11" in listed
    assert "row 3: Brixia score '444444' is not six digits of 0..3" in listed
    assert "row 4: BrixiaScore is empty" in listed
    assert "row 5: Subject is empty" in listed
    assert "row 6: Manufacturer is empty" in listed
    assert "row 7: ConsensusTestset is 'yes'; allowed: 0, 1" in listed
    assert "7: listed 2 times" in listed
    assert "8: image file 8.dcm is not in" in listed
    assert listed.count("\n") == 7


def test_a_folder_without_the_table_is_refused_by_name(tmp_path: Path) -> None:
    assert "metadata_global_v2.csv is not in" in problems(tmp_path)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 333333).map(str).filter(lambda text: set(text) <= set("0123")))
def test_lost_leading_zeros_never_change_sum_or_category(tmp_path_factory: pytest.TempPathFactory, score: str) -> None:
    total = sum(map(int, score))
    film = brixia.load(write(tmp_path_factory.mktemp("b"), row(score=score, total=str(total)))).rows[0]
    assert film.attributes["zones"] == score.zfill(6)
    assert film.labels["severity"] == severity_category(total)


def test_a_quote_that_is_never_closed_takes_no_rows_with_it(tmp_path: Path) -> None:
    noted = [*COLUMNS, "Note"]
    rows = [[*row(f"{n}.dcm", subject=f"s{n}"), '"see note' if n == 2 else ""] for n in range(1, 6)]
    assert "has a quote out of place in or before line 6" in problems(write(tmp_path, *rows, columns=noted))
    many = [[*row(f"{n}.dcm", subject=f"s{n}"), '"see note' if n == 2 else ""] for n in range(1, 4_000)]
    assert "has a quote out of place" in problems(write(tmp_path, *many, columns=noted))
    quoted = [[*row("1.dcm"), '"two\nlines; and a ""word"""'], [*row("2.DCM", subject="s2"), ""]]
    write(tmp_path, *quoted, columns=noted)
    (tmp_path / "dicom_clean" / "2.DCM").rename(tmp_path / "dicom_clean" / "2.dcm")
    assert [film.id for film in brixia.load(tmp_path).rows] == ["1", "2"]
