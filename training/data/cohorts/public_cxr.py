"""Public radiographs of COVID-19 and other pneumonias: a small stand-in for AIforCOVID (τ1) and BRIXIA (τ2) anyone can collect.

Layout (comma-separated, UTF-8 with or without BOM; further columns are ignored):

    <root>/public-prognosis/labels.csv               image (images/<file>), patient_id, centre, label, view, phase, confidence,
                                                     where known age (years) and sex
    <root>/brixia-cohen/public-annotations.csv       filename, S-A … S-F, S-Global, J-A … J-F, J-Global   (the official file)
    <root>/brixia-cohen/index.csv                    filename, patient_id, view, finding, where known age and sex
    <root>/brixia-cohen/images/<filename>

docs/public-data.md says how to build it from the public sources; `mdmt data fetch public` checks what is there.
The same patient_id in both parts is the same person, also where one film goes by two names: this keeps a joint split clean.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

from cxr.tasks import GLOBAL, PROGNOSIS, SECOND, SECOND_ZONES, severity_category, zone_labels, zone_scores
from training.data.attributes import AGE_BAND, age_band
from training.data.cohort import Cohort, CohortError, Row, checked
from training.data.cohorts.tables import read_table, records

PARTS = ("prognosis", "severity")
PHASES = ("before_icu", "not_in_icu", "icu_or_intubated", "after_icu", "unknown")
ABOUT = ("age", "sex")
READERS = ("S", "J")
ZONES = "ABCDEF"
SHUFFLE_SEED = 0
CENTRES = {"COHEN": "COHEN", "BRESCIA": "BRESCIA", "BRIXIA": "BRESCIA"}  # by the first part of patient_id


def load(root: Path, part: str, phases: tuple[str, ...] | None = None, reader: str = "S", shuffled: bool = False) -> Cohort:
    """Cohort "public-prognosis" (labels {"prognosis": 0|1}) or "public-severity" (labels {"severity": 0..3}).

    `phases` (prognosis only) keeps the films taken in these phases of the disease: with ("before_icu", "not_in_icu") the label
    is still a forecast; None keeps all. `shuffled` (prognosis only) deals the outcomes out anew among the patients, a control in which
    there is nothing to learn. `reader` (severity only) is the senior ("S") or the junior ("J") radiologist.
    Row ids are file names; patients are patient_id as written; attributes, where the tables tell them: view, sex, age_group (a band of
    AGE; no age is kept), and phase, confidence or finding, zones, global, second (the other reader's zones). Severity has the zones, the
    global score and the other reader's category and zones as `further` labels.
    Raises CohortError with every offending row, and for an option that does not exist or does not apply to the part.
    """
    name = f"public-{part}"
    problems = [] if part in PARTS else [f"part={part!r}; allowed: {', '.join(PARTS)}"]
    problems += [] if reader in READERS else [f"reader={reader!r}; allowed: S (senior), J (junior)"]
    problems += [f"phases has {phase!r}; allowed: {', '.join(PHASES)}" for phase in phases or () if phase not in PHASES]
    if phases is not None and part == "severity":
        problems.append("phases is an option of part='prognosis'; the severity table does not tell the phase")
    if shuffled and part == "severity":
        problems.append("shuffled is an option of part='prognosis'")
    if problems:
        raise CohortError(name, problems)
    if part == "severity":
        return _severity(name, root, reader)
    cohort = _prognosis(name, root / "public-prognosis", phases or PHASES)
    return _shuffled(cohort) if shuffled else cohort


def _prognosis(name: str, folder: Path, phases: tuple[str, ...]) -> Cohort:
    columns = ("image", "patient_id", "centre", "label", "view", "phase", "confidence")
    rows: list[Row] = []
    problems: list[str] = []
    for number, cells in records(read_table(name, folder / "labels.csv", columns, ABOUT)):
        try:
            _require(cells, "image", "patient_id", "centre", "label")
            if cells["phase"] not in PHASES:
                raise ValueError(f"phase is {cells['phase']!r}; allowed: {', '.join(PHASES)}")
            if cells["phase"] in phases:
                image = folder / cells["image"]
                labels = {"prognosis": PROGNOSIS.index(cells["label"])}
                attributes = _told(cells, "view", "phase", "confidence")
                rows.append(Row(image.name, image, cells["patient_id"], cells["centre"], labels, attributes))
        except ValueError as error:
            problems.append(f"labels.csv row {number}: {error}")
    return checked(name, rows, problems)


def _shuffled(cohort: Cohort) -> Cohort:
    """Outcomes dealt out anew among the patients, each patient's films together."""
    known = {row.patient: row.labels for row in cohort.rows}
    dealt = dict(zip(known, Random(SHUFFLE_SEED).sample(list(known.values()), len(known)), strict=True))
    return Cohort(cohort.name, tuple(replace(row, labels=dealt[row.patient]) for row in cohort.rows))


def _severity(name: str, root: Path, reader: str) -> Cohort:
    folder = root / "brixia-cohen"
    columns = [f"{name}-{column}" for name in READERS for column in (*ZONES, "Global")]
    annotations = read_table(name, folder / "public-annotations.csv", ("filename", *columns))
    index = read_table(name, folder / "index.csv", ("filename", "patient_id"), ("view", "finding", *ABOUT))
    problems = _mismatches(list(index["filename"]), list(annotations["filename"]))
    about = {cells["filename"]: cells for _, cells in records(index)}
    rows: list[Row] = []
    for number, scores in records(annotations):
        if (cells := about.get(scores["filename"])) is None:
            continue
        try:
            second = {"S": "J", "J": "S"}[reader]
            own, other = ({c: scores[f"{name}-{c}"] for c in (*ZONES, "Global")} for name in (reader, second))
            rows.append(_scored(folder, cells, _zones(own), _zones(other)))
        except ValueError as error:
            problems.append(f"public-annotations.csv row {number}: {error}")
    return checked(name, rows, problems)


def _zones(cells: dict[str, str]) -> tuple[int, ...]:
    """One reader's row, columns A to F and Global → the scores of the zones, checked."""
    digits, stated = [cells[zone] for zone in ZONES], cells["Global"]
    if any(len(digit) != 1 for digit in digits):
        raise ValueError(f"zone scores {digits}; allowed: one digit of 0..3 per zone")
    zones = zone_scores("".join(digits))
    if stated != str(sum(zones)):
        raise ValueError(f"the global score is {stated!r} and the zones sum to {sum(zones)}; correct one of them")
    return zones


def _scored(folder: Path, cells: dict[str, str], zones: tuple[int, ...], second: tuple[int, ...]) -> Row:
    _require(cells, "filename", "patient_id")
    centre = CENTRES.get(cells["patient_id"].split("-")[0])
    if centre is None:
        raise ValueError(f"patient_id {cells['patient_id']!r} tells no centre; allowed beginnings: {', '.join(CENTRES)}")
    attributes = {
        **_told(cells, "view", "finding"),
        "zones": "".join(map(str, zones)),
        "global": str(sum(zones)),
        "second": "".join(map(str, second)),
    }
    image = folder / "images" / cells["filename"]
    further = zone_labels(zones) | zone_labels(second, SECOND_ZONES)
    further |= {GLOBAL.name: sum(zones), SECOND.name: severity_category(sum(second))}
    labels = {"severity": severity_category(sum(zones))}
    return Row(image.name, image, cells["patient_id"], centre, labels, attributes, further)


def _told(cells: dict[str, str], *columns: str) -> dict[str, str]:
    """Attributes that the row tells, and sex and band of age. Raises ValueError for an age that is none."""
    band = {AGE_BAND: age_band(cells["age"])} if cells.get("age") else {}
    return {key: cells[key] for key in (*columns, "sex") if cells.get(key)} | band


def _mismatches(index: list[str], annotations: list[str]) -> list[str]:
    """What keeps the two tables from being one: films in only one of them, films listed twice."""
    problems = [f"index.csv: {film} has no row in public-annotations.csv" for film in sorted(set(index) - set(annotations))]
    problems += [f"public-annotations.csv: {film} has no row in index.csv" for film in sorted(set(annotations) - set(index))]
    return problems + [f"index.csv: {film} is listed {n} times; list it once" for film, n in Counter(index).items() if n > 1]


def _require(cells: dict[str, str], *columns: str) -> None:
    for column in columns:
        if not cells[column]:
            raise ValueError(f"{column} is empty")
