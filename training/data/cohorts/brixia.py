"""BRIXIA: radiographs of one month in a Brescia hospital, scored for severity (task τ2).

Paper: section 3.1 and equation 4 of MDMT (MICCAI 2024); data set: Signoroni et al., "BS-Net: learning COVID-19 pneumonia severity
on a large chest X-ray dataset", Medical Image Analysis 71 (2021) 102046.
Access: by registration at brixia.github.io; the agreement forbids passing on any portion. 4695 films (the paper counts 4707),
several per patient. Layout after unpacking:

    <root>/metadata_global_v2.csv    (separator ; with or without BOM; the older metadata_global_v1.csv with , is read too)
    <root>/dicom_clean/<number>.dcm
"""

import re
from collections.abc import Sequence
from pathlib import Path

from cxr.tasks import GLOBAL, SEVERITY_BOUNDS, severity_bounds, severity_category, zone_labels, zone_scores
from training.data.cohort import Cohort, CohortError, Row, checked
from training.data.cohorts.tables import read_table, records

NAME = "brixia"
TABLES = ("metadata_global_v2.csv", "metadata_global_v1.csv")
CONSENSUS = ("keep", "exclude", "only")
# First word of the manufacturer as spelled in the DICOM files → group, the paper's "centre" of a BRIXIA film.
MANUFACTURERS = {
    "SIEMENS": "SIEMENS",
    "AGFA": "AGFA",
    "AGFA-GEVAERT": "AGFA",
    "CARESTREAM": "CARESTREAM",
    "VILLA": "VSM",
    "KODAK": "KODAK",
    "FUJIFILM": "FUJIFILM",
    "DIGITEC": "DIGITEC",
}
OPTIONAL = ("BrixiaScoreGlobal", "ConsensusTestset", "Modality", "Sex", "AgeAtStudyDateFiveYear")


def load(root: Path, consensus: str = "keep", bounds: Sequence[int] = SEVERITY_BOUNDS) -> Cohort:
    """Films with a Brixia score: patient = Subject, centre = manufacturer, labels {"severity": category 0..3 of equation 4}.

    `bounds` are the lowest global scores of categories 1, 2 and 3. The authors' code has (5, 10, 15), which moves the 586 films of
    9 or 14 points one category down; other bounds than the paper's are told in the attribute `bounds` of every film.

    `consensus`: what becomes of the 150 films that five radiologists scored (ConsensusTestset 1): "keep" them among the others,
    "exclude" them (to hold them out), or "only" them. A manufacturer outside MANUFACTURERS keeps its own name,
    upper-cased, as its centre: it shows in `Cohort.counts()` and is merged with nothing.
    Attributes: zones (six digits, A-F), global (0..18); consensus, modality, sex, agebin (of five years) if the table has them. The score
    of each zone and the global score are `further` labels, for experiments that learn them too.
    Raises CohortError for an option that is not allowed, and with every offending row: empty cell, score that is no score, global
    score that is not the sum of the zones, film listed twice or missing.
    """
    if consensus not in CONSENSUS:
        raise CohortError(NAME, [f"consensus={consensus!r}; allowed: {', '.join(CONSENSUS)}"])
    try:
        lowest = severity_bounds(bounds)
    except ValueError as error:
        raise CohortError(NAME, [str(error)]) from None
    path = next((root / name for name in TABLES if (root / name).is_file()), root / TABLES[0])
    table = read_table(NAME, path, ("Filename", "Manufacturer", "BrixiaScore", "Subject"), OPTIONAL)
    if consensus != "keep" and "ConsensusTestset" not in table.columns:
        raise CohortError(NAME, [f"consensus={consensus!r} needs the column ConsensusTestset, which {path.name} lacks"])
    rows: list[Row] = []
    problems: list[str] = []
    for number, cells in records(table):
        try:
            if _wanted(cells.get("ConsensusTestset"), consensus):
                rows.append(_row(root, cells, lowest))
        except ValueError as error:
            problems.append(f"{path.name} row {number}: {error}")
    return checked(NAME, rows, problems)


def _wanted(flag: str | None, consensus: str) -> bool:
    if flag is not None and flag not in ("0", "1"):
        raise ValueError(f"ConsensusTestset is {flag!r}; allowed: 0, 1")
    return consensus == "keep" or flag == ("1" if consensus == "only" else "0")


def _row(root: Path, cells: dict[str, str], bounds: tuple[int, int, int]) -> Row:
    for column in ("Filename", "Manufacturer", "BrixiaScore", "Subject"):
        if not cells[column]:
            raise ValueError(f"{column} is empty")
    id = re.sub(r"\.dcm$", "", cells["Filename"], flags=re.IGNORECASE)
    zones = zone_scores(cells["BrixiaScore"])
    stated = cells.get("BrixiaScoreGlobal") or str(sum(zones))
    if stated != str(sum(zones)):
        raise ValueError(f"BrixiaScoreGlobal is {stated} and the zones of BrixiaScore sum to {sum(zones)}; correct one of them")
    attributes = {
        "zones": "".join(map(str, zones)),
        "global": str(sum(zones)),
        "bounds": "" if bounds == SEVERITY_BOUNDS else ",".join(map(str, bounds)),
        "consensus": cells.get("ConsensusTestset", ""),
        "modality": cells.get("Modality", ""),
        "sex": cells.get("Sex", ""),
        "agebin": cells.get("AgeAtStudyDateFiveYear", ""),
    }
    return Row(
        id=id,
        image=root / "dicom_clean" / f"{id}.dcm",
        patient=f"{NAME}:{cells['Subject']}",
        centre=_centre(cells["Manufacturer"]),
        labels={"severity": severity_category(sum(zones), bounds)},
        attributes={name: text for name, text in attributes.items() if text},
        further=zone_labels(zones) | {GLOBAL.name: sum(zones)},
    )


def _centre(manufacturer: str) -> str:
    name = " ".join(manufacturer.upper().split())
    return MANUFACTURERS.get(name.split()[0], name)
