"""AIforCOVID: admission radiographs of six Italian hospitals with a prognosis (task τ1).

Paper: section 3.1 of MDMT (MICCAI 2024); data set: Soda et al., "AIforCOVID: predicting the clinical outcomes in patients with
COVID-19 applying AI to chest-X-rays", Medical Image Analysis 74 (2021) 102216.
Access: on request at aiforcovid.radiomica.it. Releases 1, 2 and 3 hold 820, 283 and 482 films of as many patients (the paper
counts 284 in release 2). Layout, either of (`.xlsx`, `.xls` or `.csv`; images `.dcm`, `.png`, `.tif` or `.tiff`):

    <root>/AIforCOVID.xlsx  imgs/       AIforCOVID_r2.xlsx  imgs_r2/       AIforCOVID_r3.xlsx  imgs_r3/
    <root>/TrainSet/trainClinData.xls   TrainSet/TrainSet/      TestSet/completeTestClinData.xls   TestSet/TestSet/    (hackathon)
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from cxr.tasks import PROGNOSIS
from training.data.cohort import Cohort, CohortError, Row, checked
from training.data.cohorts.tables import read_table, records

NAME = "aiforcovid"
SOURCES = (
    ("AIforCOVID", "imgs"),
    ("AIforCOVID_r2", "imgs_r2"),
    ("AIforCOVID_r3", "imgs_r3"),
    ("TrainSet/trainClinData", "TrainSet/TrainSet"),
    ("TestSet/completeTestClinData", "TestSet/TestSet"),
)
TABLE_SUFFIXES = (".xlsx", ".xls", ".csv")
IMAGE_SUFFIXES = (".dcm", ".png", ".tif", ".tiff")
ID = re.compile(r"P_(?:(?P<series>[123])_)?\d+")
RELEASE_OF_SERIES = {None: 1, "1": 2, "2": 2, "3": 3}


def load(root: Path, releases: tuple[int, ...] = (1, 2, 3)) -> Cohort:
    """Films of the releases asked for: centre = hospital, one patient per film, labels {"prognosis": 0 MILD | 1 SEVERE}.

    The release of a film is read off its id (P_<n> → 1, P_1_<n> and P_2_<n> → 2, P_3_<n> → 3), whichever table lists it.
    Attributes: release; age and sex as the table has them. Raises CohortError with every offending row: unknown id, hospital or
    prognosis missing or unknown, film listed twice, image missing or there twice, release without any row.
    """
    if not releases or not set(releases) <= {1, 2, 3}:
        raise CohortError(NAME, [f"releases {releases} asked for; allowed: one or more of 1, 2, 3"])
    problems: list[str] = []
    rows: dict[str, Row] = {}
    first_listed: dict[str, str] = {}
    seen: set[int] = set()
    for table, folder in _sources(root):
        images = _images(folder)
        cells_of = read_table(NAME, table, ("ImageFile", "Hospital", "Prognosis"), ("Age", "Sex"))
        for number, cells in records(cells_of):
            place, id = f"{table.name} row {number}", _without_suffix(cells["ImageFile"])
            match = ID.fullmatch(id)
            if match is None:
                problems.append(f"{place}: ImageFile {cells['ImageFile']!r} is no film id; allowed: P_<n>, P_1_<n> … P_3_<n>")
                continue
            release = RELEASE_OF_SERIES[match["series"]]
            if release not in releases:
                continue
            seen.add(release)
            if id in first_listed:
                problems.append(f"{place}: {id} is listed before, in {first_listed[id]}; every film must be listed once")
                continue
            first_listed[id] = place
            try:
                rows[id] = _row(id, release, cells, images.get(id, []), folder)
            except ValueError as error:
                problems.append(f"{place}: {id}: {error}")
    problems += [f"release {n} was asked for and no table lists a film of it" for n in sorted(set(releases) - seen)]
    return checked(NAME, list(rows.values()), problems)


def _row(id: str, release: int, cells: dict[str, str], images: list[Path], folder: Path) -> Row:
    label = PROGNOSIS.index(cells["Prognosis"])
    if not cells["Hospital"]:
        raise ValueError("Hospital is empty; it is the centre of the film")
    if len(images) != 1:
        names = ", ".join(image.name for image in images) or "none"
        raise ValueError(f"images found in {folder.name}: {names}; exactly one of {', '.join(IMAGE_SUFFIXES)} is needed")
    told = {name.lower(): cells[name] for name in ("Age", "Sex") if cells.get(name)}
    return Row(id, images[0], f"{NAME}:{id}", cells["Hospital"].upper(), {"prognosis": label}, {"release": str(release), **told})


def _sources(root: Path) -> Iterator[tuple[Path, Path]]:
    """(table, folder of its images) of what is there; CohortError when nothing is, or a table is there in two formats."""
    found = 0
    for stem, folder in SOURCES:
        tables = [path for suffix in TABLE_SUFFIXES if (path := root / f"{stem}{suffix}").is_file()]
        if len(tables) > 1:
            raise CohortError(NAME, [f"{' and '.join(path.name for path in tables)} are both there; keep one of them"])
        for table in tables:
            found += 1
            yield table, root / folder
    if not found:
        stems = ", ".join(stem for stem, _ in SOURCES)
        raise CohortError(NAME, [f"no table in {root}; looked for {stems} with {', '.join(TABLE_SUFFIXES)}"])


def _images(folder: Path) -> dict[str, list[Path]]:
    images: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images[path.stem].append(path)
    return images


def _without_suffix(name: str) -> str:
    return name[: -len(suffix)] if (suffix := Path(name).suffix) else name
