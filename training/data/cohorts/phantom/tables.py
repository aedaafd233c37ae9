"""The tables beside the films, in the columns and spellings of the published data sets."""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from openpyxl import Workbook
from openpyxl.xml.functions import tostring

from cxr.tasks import severity_category
from training.data.cohorts.phantom.plan import FilmPlan
from training.data.cohorts.phantom.severity import bayes_probability
from training.data.cohorts.phantom.spec import PhantomSpec
from training.data.cohorts.phantom.styles import STYLES

WORKBOOKS = {"imgs": "AIforCOVID.xlsx", "imgs_r2": "AIforCOVID_r2.xlsx", "imgs_r3": "AIforCOVID_r3.xlsx"}
_EPOCH = datetime(2000, 1, 1)
_LUNGS = "lung fields incl. the part behind heart"


def write_prognosis(folder: Path, films: Sequence[FilmPlan]) -> None:
    """One workbook per release: identifier, centre, outcome and a few clinical columns with gaps, unrelated to the outcome."""
    header = ("ImageFile", "Hospital", "Age", "Sex", "PositivityAtAdmission", "Temp_C", "Cough", "WBC", "CRP", "Position",
              "Prognosis")  # fmt: skip
    for images, name in WORKBOOKS.items():
        rows: list[Sequence[object]] = [header]
        rows += [_clinical(film) for film in films if f"/{images}/" in film.path]
        save_workbook(folder / name, rows)


def _clinical(film: FilmPlan) -> Sequence[object]:
    rng = np.random.default_rng((*film.seed, 4))
    measured = [
        int(rng.random() < 0.85), round(float(rng.normal(37.6, 0.8)), 1), int(rng.random() < 0.5),
        round(float(rng.lognormal(1.95, 0.4)), 2), round(float(rng.lognormal(1.6, 1.0)), 2),
    ]  # fmt: skip
    known = [value if rng.random() > 0.15 else None for value in measured]
    position = int(film.supine) if rng.random() > 0.1 else " "  # the published table has blank strings as well as empty cells
    return (film.id, film.style, film.age, int(film.female), *known, position, "SEVERE" if film.severe else "MILD")


def save_workbook(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """An .xlsx whose bytes depend on the rows only: openpyxl would put the time of day into the archive."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Foglio1")
    for row in rows:
        sheet.append(row)
    raw = io.BytesIO()
    book.save(raw)
    book.properties.created = book.properties.modified = _EPOCH
    with zipfile.ZipFile(raw) as written, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as fixed:
        for entry in written.infolist():
            content = tostring(book.properties.to_tree()) if entry.filename == "docProps/core.xml" else written.read(entry)
            fixed.writestr(zipfile.ZipInfo(entry.filename, date_time=_EPOCH.timetuple()[:6]), content, zipfile.ZIP_DEFLATED)


def write_severity(folder: Path, films: Sequence[FilmPlan]) -> None:
    """metadata_global_v2.csv, separator ';'. Scores lose their leading zeros, as in the published file."""
    header = ("Filename", "StudyDate", "Modality", "Manufacturer", "PhotometricInterpretation", "Rows", "Columns", "StudyId",
              "BrixiaScore", "BrixiaScoreGlobal", "ConsensusTestset", "Subject", "Sex", "AgeAtStudyDateFiveYear")  # fmt: skip
    rows = []
    for i, film in enumerate(films):
        rng = np.random.default_rng((*film.seed, 4))
        day = f"2020{rng.integers(3, 6):02d}{rng.integers(1, 29):02d}"
        digits = str(int("".join(map(str, film.scores))))
        rows.append((
            f"{film.id}.dcm", day, STYLES[film.style].modality, film.style, "MONOCHROME1" if film.monochrome1 else "MONOCHROME2",
            film.rows, film.columns, 5000 + i, digits, film.global_score, int(rng.random() < 150 / 4707), film.patient,
            "F" if film.female else "M", film.age // 5,
        ))  # fmt: skip
    save_csv(folder / "metadata_global_v2.csv", header, rows, ";")


def write_pairs(folder: Path, films: Sequence[FilmPlan], lung_fractions: Sequence[float]) -> None:
    """pairs.csv: images, masks and how the masks are defined."""
    header = ("id", "image", "mask", "patient_id", "dataset", "definition", "view", "width", "height", "lung_fraction")
    rows = [
        (film.id, film.path.removeprefix("lung-masks/"), str(film.mask).removeprefix("lung-masks/"), film.patient, "PHANTOM",
         _LUNGS, "AP Supine" if film.supine else "PA", film.columns, film.rows, f"{fraction:.4f}")
        for film, fraction in zip(films, lung_fractions, strict=True)
    ]  # fmt: skip
    save_csv(folder / "pairs.csv", header, rows, ",")


def write_truth(folder: Path, films: Sequence[FilmPlan], spec: PhantomSpec) -> None:
    """truth.json: per held-out film what was drawn and how probable SEVERE is for one who reads the scores without error."""
    chances = bayes_probability(np.array([f.scores for f in films]), [f.style for f in films], spec.loading, spec.link)
    truth = {
        Path(film.path).name: {
            "centre": film.style,
            "prognosis": "SEVERE" if film.severe else "MILD",
            "bayes_probability_severe": round(float(chance), 4),
            "zone_scores": dict(zip("ABCDEF", film.scores, strict=True)),
            "global_score": film.global_score,
            "severity": str(severity_category(film.global_score)),
        }
        for film, chance in zip(films, chances, strict=True)
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")


def save_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]], separator: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
