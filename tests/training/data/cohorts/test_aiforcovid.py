import zipfile
from pathlib import Path

import openpyxl
import pytest
import xlwt

from training.data.cohort import CohortError
from training.data.cohorts import aiforcovid

HEADER = ["ImageFile", "Hospital", "Prognosis", "Age", "Sex"]


def write_xlsx(path: Path, *rows: list[object]) -> None:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def write_xls(path: Path, *rows: list[object]) -> None:
    book = xlwt.Workbook()
    sheet = book.add_sheet("data")
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            sheet.write(r, c, cell)
    book.save(str(path))


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_xlsx(tmp_path / "AIforCOVID.xlsx", HEADER, ["P_1", "A", "MILD", 65, 0], ["P_2", "b", " severe ", None, " "])
    write_xlsx(tmp_path / "AIforCOVID_r2.xlsx", HEADER, ["P_1_1", "F", "MILD", 40, 1], ["P_2_7", "C", "SEVERE", 41, 1])
    write_xlsx(tmp_path / "AIforCOVID_r3.xlsx", HEADER, ["P_3_9", "F", "SEVERE", 77, 1])
    touch(tmp_path / "imgs", "P_1.dcm", "P_2.png")
    touch(tmp_path / "imgs_r2", "P_1_1.TIF", "P_2_7.dcm")
    touch(tmp_path / "imgs_r3", "P_3_9.dcm", "notes.txt")
    return tmp_path


def problems(root: Path, **options: object) -> str:
    with pytest.raises(CohortError) as caught:
        aiforcovid.load(root, **options)
    return "\n".join(caught.value.problems)


def test_three_releases_are_one_cohort_with_the_hospital_as_centre_and_one_patient_per_film(root: Path) -> None:
    cohort = aiforcovid.load(root)
    assert cohort.counts() == {
        "films": {"all": 5},
        "patients": {"all": 5},
        "centre": {"A": 1, "B": 1, "C": 1, "F": 2},
        "prognosis": {"MILD": 2, "SEVERE": 3},
    }
    film = next(row for row in cohort.rows if row.id == "P_1")
    assert (film.patient, film.image) == ("aiforcovid:P_1", root / "imgs" / "P_1.dcm")
    assert film.attributes == {"release": "1", "age": "65", "sex": "0"}


def test_blank_age_and_sex_are_absent_and_not_empty(root: Path) -> None:
    film = next(row for row in aiforcovid.load(root).rows if row.id == "P_2")
    assert film.attributes == {"release": "1"}


@pytest.mark.parametrize(
    ("releases", "ids"), [((1,), ["P_1", "P_2"]), ((2,), ["P_1_1", "P_2_7"]), ((1, 3), ["P_1", "P_2", "P_3_9"])]
)
def test_only_the_releases_asked_for_are_loaded(root: Path, releases: tuple[int, ...], ids: list[str]) -> None:
    assert [row.id for row in aiforcovid.load(root, releases).rows] == ids


def test_the_release_comes_from_the_id_whichever_table_lists_it(root: Path) -> None:
    write_xlsx(root / "AIforCOVID_r2.xlsx", HEADER, ["P_1_1", "F", "MILD"], ["P_5", "A", "MILD"])
    touch(root / "imgs_r2", "P_5.dcm")
    assert [row.id for row in aiforcovid.load(root, (2,)).rows] == ["P_1_1"]
    assert "P_5" in [row.id for row in aiforcovid.load(root, (1,)).rows]


def test_columns_are_found_whatever_their_case_spaces_and_underscores(root: Path) -> None:
    write_xlsx(root / "AIforCOVID.xlsx", ["Row number", "IMAGE_FILE", "hospital ", "Prog nosis"], [1, "P_1", "A", "MILD"])
    assert [row.centre for row in aiforcovid.load(root, (1,)).rows] == ["A"]


def test_the_hackathon_packaging_is_read_with_its_file_names_that_include_png(tmp_path: Path) -> None:
    touch(tmp_path / "TrainSet/TrainSet", "P_1.png", "P_2_3.png")
    touch(tmp_path / "TestSet/TestSet", "P_3_1.png")
    write_xls(
        tmp_path / "TrainSet/trainClinData.xls", HEADER, ["P_1.png", "A", "MILD", 65, 0], ["P_2_3.png", "C", "SEVERE", 50.5, 1]
    )
    write_xls(tmp_path / "TestSet/completeTestClinData.xls", HEADER, ["P_3_1.png", "F", "SEVERE", 65, 0])
    cohort = aiforcovid.load(tmp_path)
    assert [(row.id, row.attributes["release"], row.attributes["age"]) for row in cohort.rows] == [
        ("P_1", "1", "65"),
        ("P_2_3", "2", "50.5"),
        ("P_3_1", "3", "65"),
    ]


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_csv_is_read_with_either_separator_and_a_byte_order_mark(tmp_path: Path, separator: str) -> None:
    lines = [HEADER, ["P_1", "A", "MILD", "65", "0"], [""] * 5, ["P_2", "B", "SEVERE", "", ""]]
    (tmp_path / "AIforCOVID.csv").write_text("\n".join(separator.join(line) for line in lines), encoding="utf-8-sig")
    touch(tmp_path / "imgs", "P_1.png", "P_2.png")
    assert [row.id for row in aiforcovid.load(tmp_path, (1,)).rows] == ["P_1", "P_2"]


def test_every_bad_row_is_listed_at_once_with_its_row_number(root: Path) -> None:
    bad = [
        ["P_1", "A", "DEAD"],
        ["P_2", "", "MILD"],
        ["P_4", "A", "MILD"],
        ["X9", "A", "MILD"],
        ["P_4", "A", "MILD"],
        ["", "A", "MILD"],
    ]
    write_xlsx(root / "AIforCOVID.xlsx", HEADER, *bad)
    listed = problems(root)
    assert "AIforCOVID.xlsx row 2: P_1: 'DEAD' is no label of task 'prognosis'; allowed: MILD, SEVERE" in listed
    assert "row 3: P_2: Hospital is empty" in listed
    assert "row 4: P_4: images found in imgs: none" in listed
    assert "row 5: ImageFile 'X9' is no film id" in listed
    assert "row 6: P_4 is listed before, in AIforCOVID.xlsx row 4" in listed
    assert "row 7: ImageFile '' is no film id" in listed
    assert listed.count("\n") == 5


def test_a_film_that_is_there_in_two_formats_is_refused(root: Path) -> None:
    touch(root / "imgs", "P_1.png")
    assert "images found in imgs: P_1.dcm, P_1.png" in problems(root)


def test_a_release_without_a_table_is_refused(root: Path) -> None:
    (root / "AIforCOVID_r3.xlsx").unlink()
    assert "release 3 was asked for" in problems(root)
    assert aiforcovid.load(root, (1, 2)).rows


def test_a_missing_column_names_what_was_found(root: Path) -> None:
    write_xlsx(root / "AIforCOVID.xlsx", ["ImageFile", "Centre", "Prognosis"], ["P_1", "A", "MILD"])
    assert problems(root) == "AIforCOVID.xlsx has no column Hospital; found: ImageFile, Centre, Prognosis"


def test_two_columns_for_one_name_are_refused(root: Path) -> None:
    write_xlsx(root / "AIforCOVID.xlsx", [*HEADER, "image_file"], ["P_1", "A", "MILD", 1, 1, "P_2"])
    assert "has 2 columns for ImageFile (ImageFile, image_file); keep one" in problems(root)


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    assert "looked for AIforCOVID, AIforCOVID_r2" in problems(tmp_path)


def test_a_table_in_two_formats_is_refused(root: Path) -> None:
    (root / "AIforCOVID.csv").touch()
    assert "AIforCOVID.xlsx and AIforCOVID.csv are both there" in problems(root)


@pytest.mark.parametrize("suffix", [".xlsx", ".xls"])
def test_a_damaged_spreadsheet_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"AIforCOVID{suffix}").write_bytes(b"PK\x03\x04 not a workbook")
    assert f"AIforCOVID{suffix} is no spreadsheet" in problems(tmp_path)


@pytest.mark.parametrize(("content", "message"), [("é".encode("latin-1"), "not UTF-8"), (b"", "is empty")])
def test_a_damaged_csv_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "AIforCOVID.csv").write_bytes(content)
    assert message in problems(tmp_path)


@pytest.mark.parametrize("releases", [(), (0,), (1, 4)])
def test_releases_that_do_not_exist_are_refused(root: Path, releases: tuple[int, ...]) -> None:
    assert "allowed: one or more of 1, 2, 3" in problems(root, releases=releases)


def test_a_column_that_a_workbook_has_twice_is_refused_as_in_a_csv(tmp_path: Path) -> None:
    write_xlsx(tmp_path / "AIforCOVID.xlsx", [*HEADER, "Prognosis"], ["P_1", "A", "MILD", 65, 0, "SEVERE"])
    assert "2 columns for Prognosis" in problems(tmp_path, releases=(1,))


@pytest.mark.parametrize("content", [b"PK\x03\x04 no zip", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), b""])
def test_a_workbook_that_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "AIforCOVID.xlsx").write_bytes(content)
    assert "if it opens with a password, save it without one" in problems(tmp_path, releases=(1,))


def test_a_zip_that_is_no_workbook_is_refused_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "AIforCOVID.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<broken")
    assert "no spreadsheet that can be read" in problems(tmp_path, releases=(1,))
