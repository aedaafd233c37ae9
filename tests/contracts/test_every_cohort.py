"""What every reader of a data set keeps to, whatever its tables look like: sorted, complete, repeatable rows, or one CohortError."""

import csv
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from cxr.tasks import TASKS
from training.data import cohorts
from training.data.cohort import Cohort, CohortError
from training.data.cohorts.phantom import PhantomSpec, generate

PHANTOM = PhantomSpec(
    prognosis_films=12, severity_films=12, lung_pairs=0, held_out_films=2, pixels=(64, 96), canvas=128, films_per_subject=1.5
)
NO_READERS = {"phantom", "published_sizes", "tables"}  # two write what others read, one reads spreadsheets for the readers


def as_public_prognosis(phantom: Path, root: Path) -> None:
    films = sorted((phantom / "held-out").glob("*.png"))
    shutil.copytree(phantom / "held-out", root / "public-prognosis/images")
    rows = [[f"images/{f.name}", f"COHEN-{i}", "ITALY", "MILD", "PA", "not_in_icu", "high", ""] for i, f in enumerate(films)]
    with (root / "public-prognosis/labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "patient_id", "centre", "label", "view", "phase", "confidence", "note"], *rows])


def as_public_severity(phantom: Path, root: Path) -> None:
    films = sorted((phantom / "held-out").glob("*.png"))
    shutil.copytree(phantom / "held-out", root / "brixia-cohen/images")
    readers = [f"{reader}-{zone}" for reader in "SJ" for zone in (*"ABCDEF", "Global")]
    with (root / "brixia-cohen/index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["filename", "patient_id", "finding", "view", "note"],
                *([f.name, f"COHEN-{i}", "", "PA", ""] for i, f in enumerate(films)),
            ]
        )
    with (root / "brixia-cohen/public-annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", *readers], *([f.name, *([1] * 6 + [6]) * 2] for f in films)])


def folder_of(name: str) -> Callable[[Path, Path], None]:
    return lambda phantom, root: shutil.copytree(phantom / name, root, dirs_exist_ok=True) and None


# Reader, options, and how a phantom becomes a folder that it reads. A new reader adds its line here.
CASES = {
    "aiforcovid": ("aiforcovid", {}, folder_of("AIforCOVID")),
    "age_groups": ("age_groups", {}, folder_of("AIforCOVID")),
    "brixia": ("brixia", {}, folder_of("BRIXIA")),
    "public_cxr prognosis": ("public_cxr", {"part": "prognosis"}, as_public_prognosis),
    "public_cxr severity": ("public_cxr", {"part": "severity"}, as_public_severity),
}
every_cohort = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    generate(root, PHANTOM, workers=1)
    return root


def load(case: str, root: Path) -> Cohort:
    reader, options, _ = CASES[case]
    return import_module(f"training.data.cohorts.{reader}").load(root, **options)


@pytest.fixture
def root(case: str, phantom: Path, tmp_path: Path) -> Path:
    CASES[case][2](phantom, tmp_path)
    return tmp_path


def test_every_reader_is_held_to_this_contract() -> None:
    readers = {module.name for module in iter_modules(cohorts.__path__)} - NO_READERS
    assert readers == {reader for reader, _, _ in CASES.values()}


@every_cohort
def test_rows_are_sorted_and_complete_with_labels_of_known_tasks(case: str, root: Path) -> None:
    rows = load(case, root).rows
    assert rows
    assert [row.id for row in rows] == sorted({row.id for row in rows})
    for row in rows:
        assert row.image.is_file()
        assert row.image.is_relative_to(root)
        assert row.patient.strip()
        assert row.centre.strip()
        assert row.labels
        assert all(0 <= index < len(TASKS[task].classes) for task, index in row.labels.items())


@every_cohort
def test_reading_twice_gives_equal_cohorts(case: str, root: Path) -> None:
    assert load(case, root) == load(case, root)


@every_cohort
def test_attributes_are_texts_and_hold_no_dates(case: str, root: Path) -> None:
    attributes = [item for row in load(case, root).rows for item in row.attributes.items()]
    assert all(isinstance(value, str) for _, value in attributes)
    assert not [item for item in attributes if "date" in item[0].lower() or re.search(r"(19|20)\d{6}|\d{4}-\d\d-\d\d", item[1])]


@every_cohort
def test_a_missing_film_is_one_problem_that_names_its_row(case: str, root: Path) -> None:
    row = load(case, root).rows[-1]
    row.image.unlink()
    with pytest.raises(CohortError) as caught:
        load(case, root)
    assert len(caught.value.problems) == 1
    assert row.id in caught.value.problems[0]


@every_cohort
def test_an_empty_folder_is_refused_and_says_what_is_missing(case: str, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"\.(xlsx|csv)"):
        load(case, tmp_path)


@every_cohort
def test_an_option_that_does_not_exist_is_refused(case: str, root: Path) -> None:
    reader, options, _ = CASES[case]
    with pytest.raises(TypeError, match="colour"):
        import_module(f"training.data.cohorts.{reader}").load(root, **options, colour="red")
