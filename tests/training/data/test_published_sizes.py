"""The published data sets in full size, from tables to splits: every count is exact, nothing is dropped, and it takes seconds."""

import csv
import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from training.data.cohort import Cohort
from training.data.cohorts import aiforcovid, brixia, published_sizes
from training.data.splits import Fold, assert_no_leakage, cross_validation, leave_one_centre_out

pytestmark = pytest.mark.long  # most of half a minute 6,280 files are written
ALL = {"A": 120, "B": 104, "C": 151, "D": 139, "E": 101, "F": 970}
TESTED = {(1,): ALL | {"C": 31, "F": 325}, (1, 2): ALL | {"F": 488}, (1, 2, 3): ALL}
CLASSES = {
    (1,): {"MILD": 384, "SEVERE": 436},
    (1, 2): {"MILD": 535, "SEVERE": 568},
    (1, 2, 3): {"MILD": 839, "SEVERE": 746},
}
every_subset = pytest.mark.parametrize("releases", TESTED, ids=str)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    published_sizes.write(root)
    return root


@pytest.fixture(scope="module")
def severity(root: Path) -> Cohort:
    return brixia.load(root / "BRIXIA")


def prognosis(root: Path, releases: tuple[int, ...]) -> Cohort:
    return aiforcovid.load(root / "AIforCOVID", releases)


def table(root: Path) -> list[dict[str, str]]:
    with (root / "BRIXIA/metadata_global_v2.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=";"))


@every_subset
def test_the_prognosis_tables_have_the_published_counts(root: Path, releases: tuple[int, ...]) -> None:
    counts = prognosis(root, releases).counts()
    assert counts["centre"] == TESTED[releases]
    assert counts["prognosis"] == CLASSES[releases]
    assert counts["patients"] == counts["films"] == {"all": sum(TESTED[releases].values())}


def test_the_severity_table_has_the_published_counts(root: Path, severity: Cohort) -> None:
    counts = severity.counts()
    assert counts["films"] == {"all": 4695}
    assert counts["severity"] == {"0": 1035, "1": 1385, "2": 1679, "3": 596}
    assert brixia.load(root / "BRIXIA", bounds=(5, 10, 15)).counts()["severity"] == {"0": 1035, "1": 1738, "2": 1559, "3": 363}
    assert brixia.load(root / "BRIXIA", "only").counts()["films"] == {"all": 150}
    by_maker = Counter((row.centre, row.labels["severity"]) for row in severity.rows)
    assert [by_maker["SIEMENS", i] for i in range(4)] == [490, 651, 760, 296]
    assert [by_maker["AGFA", i] for i in range(4)] == [190, 158, 173, 55]
    assert counts["centre"] == {
        "AGFA": 576, "CARESTREAM": 1805, "DIGITEC": 1, "FUJIFILM": 15, "KODAK": 73, "SIEMENS": 2197, "VSM": 28,
    }  # fmt: skip


def test_the_severity_table_has_what_makes_the_published_one_hard_to_read(root: Path, severity: Cohort) -> None:
    rows = table(root)
    assert {len(row["Filename"].removesuffix(".dcm")) for row in rows} == {19, 20}
    assert sum(int(row["Filename"].removesuffix(".dcm")) >= 2**63 for row in rows) > 1000
    shortened = [row for row in rows if len(row["BrixiaScore"]) < 6]
    assert len(shortened) > 1000 and all(row["BrixiaScore"] == "0" or row["BrixiaScore"][0] != "0" for row in rows)
    assert {"AGFA", "Agfa-Gevaert", "Villa Sistemi Medicali"} < {row["Manufacturer"] for row in rows}
    patients = Counter(row.patient for row in severity.rows)
    assert max(patients.values()) > 3 and len(patients) < len(rows) * 0.6


def test_every_film_is_a_dicom_of_its_own(root: Path) -> None:
    films = sorted(root.rglob("*.dcm"))
    assert len({hashlib.sha256(film.read_bytes()).digest() for film in films}) == len(films) == 1585 + 4695
    for film in films[:: len(films) // 20]:
        assert pydicom.dcmread(film).pixel_array.shape == (16, 16)


def test_equal_seeds_write_equal_bytes_and_nothing_is_overwritten(root: Path, tmp_path: Path) -> None:
    published_sizes.write(tmp_path / "again")
    published_sizes.write(tmp_path / "other", seed=1)

    def contents(folder: Path) -> list[tuple[str, bytes]]:
        return [(path.name, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]

    assert contents(tmp_path / "again") == contents(root) != contents(tmp_path / "other")
    with pytest.raises(FileExistsError):
        published_sizes.write(root)


@dataclass(frozen=True)
class Study:
    """All that one release subset is tested on, and the processor seconds that reading and splitting took."""

    prognosis: Cohort
    severity: Cohort
    folds: tuple[Fold, ...]
    loco: tuple[Fold, ...]
    seconds: float


@pytest.fixture(scope="module")
def studies(root: Path) -> dict[tuple[int, ...], Study]:
    made = {}
    for releases in TESTED:
        start = time.process_time()
        both = [prognosis(root, releases), brixia.load(root / "BRIXIA")]
        loco = leave_one_centre_out(both, aiforcovid.NAME, None, 0, 0.25)
        folds = (*cross_validation(both, 5, 0, 0.25), *loco)
        assert_no_leakage(both, folds)
        made[releases] = Study(*both, folds, loco, time.process_time() - start)
    return made


@pytest.mark.long
def test_reading_splitting_and_checking_all_release_subsets_takes_less_than_a_minute(
    studies: dict[tuple[int, ...], Study],
) -> None:
    assert sum(study.seconds for study in studies.values()) < 60


@every_subset
def test_every_film_has_a_role_in_every_fold_and_every_class_is_in_every_part(
    studies: dict[tuple[int, ...], Study], releases: tuple[int, ...]
) -> None:
    study = studies[releases]
    for one, classes in ((study.prognosis, 2), (study.severity, 4)):
        labels = {row.id: tuple(row.labels.values()) for row in one.rows}
        for fold in study.folds:
            assert fold.roles[one.name].keys() == labels.keys()
            assert all(len({labels[id] for id in fold.ids(one.name, role)}) == classes for role in ("train", "val", "test"))


@every_subset
def test_leaving_a_centre_out_tests_exactly_the_films_of_that_centre(
    studies: dict[tuple[int, ...], Study], releases: tuple[int, ...]
) -> None:
    study = studies[releases]
    sizes = {fold.name.removeprefix("loco-"): len(fold.ids(aiforcovid.NAME, "test")) for fold in study.loco}
    assert sizes == TESTED[releases]
    tested = Counter(id for fold in study.loco for id in fold.ids(brixia.NAME, "test"))
    assert tested == dict.fromkeys((row.id for row in study.severity.rows), 1)


def test_the_severity_films_have_the_same_folds_in_every_release_subset(studies: dict[tuple[int, ...], Study]) -> None:
    roles = [[fold.roles[brixia.NAME] for fold in study.folds] for study in studies.values()]
    assert roles[0] == roles[1] == roles[2]
