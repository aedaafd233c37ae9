"""Awkward files, and whether what is said to them is what their table expects.

The table's `expected` is a sentence; what it asks for is read from its words, by one rule for every file (`matches`).
"""

import csv
from pathlib import Path
from typing import NamedTuple

from cxr.gate import REMEDIES, Gate
from cxr.pipeline import PipelineSpec
from cxr.segmentation import Segmenter
from training.evidence.gate_cases import Said, oddities, outcome

TABLE = "oddities.csv"
RULE = (
    "The rule: “accept” asks for an answer, with “warning” for one that carries a quality flag, or for a refusal that names what was done "
    "to the film, so that the sender can undo it; “reject” asks for a refusal, “or flag” is content with a quality flag."
)


class Oddity(NamedTuple):
    """A row of the table: file, what it is, what is expected of it, whose film it is (empty: nobody's)."""

    file: str
    kind: str
    expected: str
    patient: str


class Judged(NamedTuple):
    oddity: Oddity
    said: Said
    fits: bool


def read_table(folder: Path) -> list[Oddity]:
    """Rows of `folder`/oddities.csv; none where there is no such file."""
    if not (folder / TABLE).is_file():
        return []
    with (folder / TABLE).open(encoding="utf-8", newline="") as file:
        return [Oddity(row["file"], row["kind"], row["expected"], row["patient_id"]) for row in csv.DictReader(file)]


def patients_of(folder: Path) -> set[str]:
    """Patients whose films are among the oddities: a gate that is asked about them must not have seen them."""
    return {row.patient for row in read_table(folder) if row.patient}


def ask(folder: Path, spec: PipelineSpec, segmenter: Segmenter, gate: Gate) -> list[Judged]:
    """Every file of the table, and what is said to it. Raises FileNotFoundError for one that is listed and not there."""
    files, judged = oddities(folder), []
    for row in read_table(folder):
        if row.file not in files:
            raise FileNotFoundError(f"{folder / TABLE} lists {row.file}, which is not in the folder: add it or drop its row")
        said = outcome(files[row.file], spec, segmenter, gate)
        judged.append(Judged(row, said, matches(row.expected, said)))
    return judged


def matches(expected: str, said: Said) -> bool:
    """Whether an answer or a refusal is what the words of `expected` ask for (RULE). ValueError for words that ask for neither."""
    words = expected.lower()
    accepts, rejects = "accept" in words, "reject" in words
    if not (accepts or rejects):
        raise ValueError(f"expected is {expected!r}; allowed: a sentence with “accept”, “reject” or both")
    if not said.answered:
        return rejects or ("warning" in words and said.reason in REMEDIES)
    return (accepts and ("warning" not in words or bool(said.flags))) or ("flag" in words and bool(said.flags))
