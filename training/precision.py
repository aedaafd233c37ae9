"""Does a lower precision change answers? Measured on films, written into the bundle; `cxr.precision` judges it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

import numpy as np

from cxr.bundle import Bundle, Prediction
from cxr.errors import FilmError
from cxr.graphs import EngineName, Precision
from cxr.host import processor
from cxr.manifest import MANIFEST, Manifest, read_manifest
from cxr.pipeline import prepare_radiograph
from cxr.precision import Proof
from cxr.reading import SERVED, Radiograph, read, recognised
from training.data.cohort import Cohort
from training.data.films.unet import iou

ENGINE: EngineName = "openvino"  # the one that computes in bfloat16


def films_of(cohorts: Sequence[Cohort]) -> list[Path]:
    """Every image once, in an order of its own."""
    return sorted({row.image for cohort in cohorts for row in cohort.rows})


def prove(folder: Path, films: Iterable[Path], source: str, precision: Precision = "bfloat16") -> Proof:
    """Answer every film in float32 and in `precision`, both on OpenVINO. `source` names the films in the record.

    Formats that the service does not take are left out. ValueError when none is left.
    """
    exact, other = Bundle(folder, engine=ENGINE), Bundle(folder, engine=ENGINE, precision=precision)
    found = _Differences({task.name: 0 for task in exact.tasks})
    for path in films:
        data = path.read_bytes()
        if recognised(data) in SERVED:
            radiograph = _read(data)
            found.add(_answered(exact, radiograph), _answered(other, radiograph))
    if not found.ious:
        raise ValueError("no film to compare precisions on: none of those given has lungs that are found")
    return Proof(
        films=found.films,
        source=source,
        processor=processor(),
        engine=ENGINE,
        iou_median=median(found.ious),
        iou_min=min(found.ious),
        verdicts=found.verdicts,
        flipped=found.flipped,
        mean_change=fmean(found.changes),
        largest_change=max(found.changes),
    )


def write_proof(folder: Path, precision: Precision, proof: Proof) -> Manifest:
    """Put the proof into `bundle.json`: before the bundle is signed, because its digest changes."""
    manifest = read_manifest(folder)
    manifest = manifest.model_copy(update={"proofs": {**manifest.proofs, precision: proof}})
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
    return manifest


@dataclass
class _Differences:
    flipped: dict[str, int]
    films: int = 0
    verdicts: int = 0
    ious: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)

    def add(self, exact: Prediction | None, other: Prediction | None) -> None:
        self.films += 1
        if exact is None or other is None:
            self.verdicts += exact is not other
            return
        self.verdicts += exact.film.verdict is not other.film.verdict
        self.ious.append(iou(exact.film.lungs, other.film.lungs))
        for name, given in exact.answers.items():
            self.flipped[name] += given.index != other.answers[name].index
            changes = np.abs(np.subtract(given.probabilities, other.answers[name].probabilities))
            self.changes += [float(change) for change in changes]


def _read(data: bytes) -> Radiograph | None:
    """None where the file is damaged."""
    try:
        return read(data)
    except FilmError:
        return None


def _answered(bundle: Bundle, radiograph: Radiograph | None) -> Prediction | None:
    """None where there is nothing to answer, or no lungs are found. The input gate is not asked."""
    if radiograph is None:
        return None
    try:
        return bundle.predict_film(prepare_radiograph(radiograph, bundle.manifest.pipeline, bundle.segmenter))
    except FilmError:
        return None
