"""The public pack (docs/public-data.md): which films it is made of, and whether a folder holds them with the labels they should have.

`public_pack.json` names every film as its source names it, and counts films by centre and label. It holds no label of a single film:
those are derived from the sources' own tables, as the page says.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cxr.tasks import TASKS
from training.data.cohort import Cohort, CohortError
from training.data.cohorts import public_cxr
from training.data.lung_pairs import read_pairs

PAGE = "docs/public-data.md"
Counts = Mapping[str, Mapping[str, int]]  # centre → label → films; for lung masks: definition of the lung → "pairs" → pairs


@dataclass(frozen=True)
class Part:
    """One folder of the pack: its tables, the columns that are used of each, and where films and labels come from, step by step."""

    folder: str
    tables: tuple[str, ...]
    sources: tuple[str, ...]


PARTS = (
    Part(
        "public-prognosis",
        ("labels.csv",),
        (
            "images and metadata.csv of https://github.com/ieee8023/covid-chestxray-dataset (licence per image)",
            "png/ and data.csv of https://github.com/ml-workgroup/covid-19-image-repository (Hannover, CC BY 3.0)",
            "images/ and metadata.csv of https://github.com/agchung/Figure1-COVID-chestxray-dataset (research purposes only)",
            f"labels.csv: one row per frontal film of a patient whose outcome is documented, by the rules in {PAGE}",
        ),
    ),
    Part(
        "brixia-cohen",
        ("public-annotations.csv", "index.csv"),
        (
            "data/public-cohen-subset and data/public-annotations.csv of https://github.com/BrixIA/Brixia-score-COVID-19 (CC BY-NC-SA 4.0)",
            f"index.csv: one row per film with the patient's key, see {PAGE}",
        ),
    ),
    Part(
        "lung-masks",
        ("pairs.csv",),
        (
            "films and polygons of https://github.com/v7labs/covid-19-xray-dataset (annotations CC BY 4.0)",
            "masks of https://github.com/GeneralBlockchain/covid-19-chest-xray-segmentations-dataset (no licence stated)",
            "the JSRT database, http://db.jsrt.or.jp/eng.php, with lung fields of the SCR database (terms of both: ask first)",
            f"pairs.csv: one row per film and mask, with the definition of the lung, see {PAGE}",
        ),
    ),
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for: how many were found and how many belong there. `of`: a file, the films, or "centre, label"."""

    part: str
    of: str
    found: int
    documented: int
    says: str = ""

    @property
    def missing(self) -> bool:
        """More than documented is no fault: who collects all patients of the sources has more than the pack."""
        return self.found < self.documented


@cache
def documented() -> tuple[Mapping[str, Counts], Mapping[str, list[str]]]:
    """(counts, names of films), each by folder of the pack."""
    content = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return content["counts"], content["films"]


def check(root: Path) -> list[Finding]:
    """Everything that belongs into the folder `root`, part by part: tables, films by name, films by centre and label.

    Tables that cannot be read as they should count as not there, and say why in `says`.
    """
    return [finding for part in PARTS for finding in _check(root, part)]


def _check(root: Path, part: Part) -> list[Finding]:
    counts, films = documented()
    names = films[part.folder]
    folder = root / part.folder
    findings = [Finding(part.folder, table, int((folder / table).is_file()), 1) for table in part.tables]
    there = sum((folder / "images" / name).is_file() for name in names)
    findings.append(Finding(part.folder, "films of the pack", there, len(names)))
    if any(finding.missing for finding in findings[:-1]):
        return findings
    try:
        found = _counts(root, part.folder)
    except CohortError as error:
        return [*findings, Finding(part.folder, "tables that fit their films", 0, 1, str(error))]
    return findings + [
        Finding(part.folder, f"{centre}, {label}", found.get(centre, {}).get(label, 0), n)
        for centre, labels in counts[part.folder].items()
        for label, n in labels.items()
    ]


def _counts(root: Path, folder: str) -> Counts:
    if folder == "lung-masks":
        return {kind: {"pairs": n} for kind, n in Counter(pair.definition for pair in read_pairs(root / folder)).items()}
    return _by_centre(public_cxr.load(root, "prognosis" if folder == "public-prognosis" else "severity"))


def _by_centre(cohort: Cohort) -> Counts:
    (task,) = cohort.tasks
    found: dict[str, Counter[str]] = {}
    for row in cohort.rows:
        found.setdefault(row.centre, Counter())[TASKS[task].classes[row.labels[task]]] += 1
    return found
