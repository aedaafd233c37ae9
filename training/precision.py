"""Does a U-Net in a lower precision change answers? Measured on films, written into the bundle; `cxr.precision` judges it.

The margins of `cxr.close_calls` are found on one half of the films, by the digest of their names: SAFETY times the least with which
no film of that half is cropped otherwise. What changes in spite of them is counted on all.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from cxr.bundle import Bundle
from cxr.close_calls import iou, is_certain
from cxr.errors import FilmError
from cxr.graphs import EngineName, Precision
from cxr.host import processor
from cxr.intensity import to_gray8
from cxr.manifest import MANIFEST, SEGMENTER, Manifest, read_manifest
from cxr.measures import Seen
from cxr.pipeline import Film, Looked, LungsNotFound, look, prepare_radiograph
from cxr.precision import LEAST_IOU, Margins, Proof
from cxr.prediction import Prediction
from cxr.radiograph import Radiograph
from cxr.reading import SERVED, read, recognised
from cxr.segmentation import OnnxSegmenter
from training.data.cohort import Cohort

ENGINE: EngineName = "openvino"  # the one that computes in bfloat16
SAFETY = 2.0  # chosen before the films of the proof were looked at; half as much again saves little and once let a film slip
# Margins around the threshold that are tried; nothing is trusted within SAFETY times the first.
STEPS = tuple(step / 1000 for step in range(5, 61))


def films_of(cohorts: Sequence[Cohort]) -> list[Path]:
    """Every image once, in an order of its own."""
    return sorted({row.image for cohort in cohorts for row in cohort.rows})


def prove(
    folder: Path, films: Iterable[Path], source: str, precision: Precision = "bfloat16", graph: bytes | None = None
) -> Proof:
    """Look at every film in float32 and in `precision`, both on OpenVINO. `source` names the films in the record, `graph` is the U-Net's
    in that precision where it is another one than the bundle's.

    Formats that the service does not take, and files that cannot be read, are left out. ValueError when no film with lungs is left.
    """
    exact = Bundle(folder, engine=ENGINE)
    lower = OnnxSegmenter(graph or (folder / SEGMENTER).read_bytes(), 1, ENGINE, precision)
    compared = [found for path in films if (found := _compare(path, exact, lower)) is not None]
    if not any(one.iou is not None for one in compared):
        raise ValueError("no film to compare precisions on: none of those given has lungs that are found")
    margins = margins_of([one for one in compared if one.fitted])
    again = [one.is_close(margins) for one in compared]
    left = [one for one, looked_again in zip(compared, again, strict=True) if not looked_again]
    ious = [1.0] * sum(again) + [one.iou for one in left if one.iou is not None]
    changes = [0.0] * sum(again) + [one.change for one in left]
    return Proof(
        films=len(compared),
        source=source,
        processor=processor(),
        engine=ENGINE,
        margins=margins,
        fitted=sum(one.fitted for one in compared),
        rechecked=sum(again) / len(compared),
        moved=sum(one.moved or one.refusal for one in compared),
        iou_median=median(ious),
        iou_min=min(ious),
        verdicts=sum(one.verdict or one.refusal for one in left),
        flipped={task.name: sum(task.name in one.flipped for one in left) for task in exact.tasks},
        sets=sum(one.sets for one in left),
        mean_change=fmean(changes),
        largest_change=max((one.largest_change for one in left), default=0.0),
    )


def write_proof(folder: Path, precision: Precision, proof: Proof) -> Manifest:
    """Put the proof into `bundle.json`: before the bundle is signed, because its digest changes."""
    manifest = read_manifest(folder)
    manifest = manifest.model_copy(update={"proofs": {**manifest.proofs, precision: proof}})
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
    return manifest


@dataclass(frozen=True)
class Compared:
    """A film as float32 and as a lower precision sees it. `uncertain` says for each of STEPS whether it is a close call; `score` is the
    gate's in the lower precision, `score_change` its distance from float32's, `refusal` whether one refuses it alone.

    `verdict` and `moved`: another verdict; another crop, verdict or mask. What follows is what that does to the answer.
    """

    fitted: bool
    uncertain: tuple[bool, ...]
    threshold: float | None
    score: float | None
    score_change: float
    refusal: bool
    verdict: bool
    moved: bool
    iou: float | None  # None unless both find lungs
    flipped: frozenset[str] = frozenset()
    sets: bool = False
    change: float = 0.0  # of a probability, on average
    largest_change: float = 0.0

    def is_close(self, margins: Margins) -> bool:
        """Whether `cxr.close_calls` has float32 look at it again."""
        near = self.score is not None and self.threshold is not None and margins.refuses(self.score, self.threshold)
        return self.uncertain[STEPS.index(margins.lungs)] or near


def margins_of(films: Sequence[Compared]) -> Margins:
    """SAFETY times the least margin that makes every film a close call which is seen otherwise, but one of STEPS; and for the gate,
    SAFETY times the largest change of a score."""
    needed = next((i for i in range(len(STEPS)) if all(one.uncertain[i] for one in films if one.moved)), len(STEPS) - 1)
    wide = next((step for step in STEPS if step >= SAFETY * STEPS[needed]), STEPS[-1])
    return Margins(lungs=wide, gate=SAFETY * max((one.score_change for one in films), default=0.0))


def _compare(path: Path, exact: Bundle, lower: OnnxSegmenter) -> Compared | None:
    data, spec = path.read_bytes(), exact.manifest.pipeline
    if recognised(data) not in SERVED:
        return None
    try:
        radiograph = read(data)
        gray = to_gray8(radiograph.pixels, spec.low, spec.high)
    except FilmError:
        return None
    seen, other = look(gray, spec, exact.segmenter), look(gray, spec, lower)
    film, cut = _film(radiograph, seen, exact), _film(radiograph, other, exact)
    both = film is not None and cut is not None
    overlap = iou(seen.lungs, other.lungs) if both else None
    score, score_other = exact.gate.score_of(seen), exact.gate.score_of(other)
    threshold = exact.gate.model.threshold if exact.gate.model else None
    scored = threshold is not None and score is not None and score_other is not None
    found = Compared(
        fitted=hashlib.sha256(path.name.encode()).digest()[0] % 2 == 0,
        uncertain=tuple(not is_certain(other, spec, step) for step in STEPS),
        threshold=threshold,
        score=score_other,
        score_change=abs(score - score_other) if scored else 0.0,
        refusal=scored and (score > threshold) != (score_other > threshold),
        verdict=(film and film.verdict) != (cut and cut.verdict),
        moved=(film and (film.digest, film.verdict)) != (cut and (cut.digest, cut.verdict)) or (both and overlap < LEAST_IOU),
        iou=overlap,
    )
    return (
        found
        if not both or film.digest == cut.digest
        else _with_answers(found, exact.predict_film(film), exact.predict_film(cut))
    )


def _film(radiograph: Radiograph, seen: Seen, bundle: Bundle) -> Film | None:
    """The film that is cut where `seen` has lungs; None without."""
    try:
        return prepare_radiograph(
            radiograph, bundle.manifest.pipeline, bundle.segmenter, quick=lambda gray, gate: Looked(seen, None)
        )
    except LungsNotFound:
        return None


def _with_answers(found: Compared, given: Prediction, other: Prediction) -> Compared:
    pairs = [(name, answer, other.answers[name]) for name, answer in given.answers.items()]
    changes = [abs(p - q) for _, a, b in pairs for p, q in zip(a.probabilities, b.probabilities, strict=True)]
    return dataclasses.replace(
        found,
        flipped=frozenset(name for name, a, b in pairs if a.index != b.index),
        sets=any(a.candidates != b.candidates for _, a, b in pairs),
        change=fmean(changes),
        largest_change=max(changes),
    )
