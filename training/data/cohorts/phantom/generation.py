"""A spec → a folder of films and tables, made once: `generate` is the only thing that others need."""

import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from cxr.tasks import severity_category
from training.data.cohorts.phantom import plan, tables
from training.data.cohorts.phantom.acquisition import expose
from training.data.cohorts.phantom.severity import bayes_accuracy, bayes_probability
from training.data.cohorts.phantom.spec import PhantomSpec
from training.data.cohorts.phantom.writing import write_film, write_mask

MARKER = "phantom.json"
NOTICE = "SYNTHETIC-DATA.txt"
_FOLDERS = ("AIforCOVID", "BRIXIA", "lung-masks", "held-out")
_NOTICE_TEXT = """Every film in this folder was drawn by a program. None shows a person.
No result on them says anything about patients. The folders AIforCOVID, BRIXIA,
lung-masks and held-out are deleted and made again when another phantom is asked for here.
"""


class PhantomError(ValueError):
    """A folder in which no phantom may be made."""


class PhantomReport(BaseModel):
    """What was made. `bayes_*` are the accuracies (0..1) that perfect reading of zone scores and centre gives for prognosis:
    `population` for an endless cohort, `expected` on the films made (mean of max(p, 1 − p)), `realised` against their outcomes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    films: dict[str, int]
    patients: dict[str, int]
    prognosis: dict[str, int]
    prognosis_by_centre: dict[str, dict[str, int]]
    severity: dict[str, int]
    zone_counts: dict[str, list[int]]
    global_score_mean: float
    global_score_sd: float
    bayes_accuracy_population: float
    bayes_accuracy_expected: float
    bayes_accuracy_realised: float


Progress = Callable[[int, int], None]


def generate(root: Path, spec: PhantomSpec, workers: int = 2, progress: Progress | None = None) -> PhantomReport:
    """Writes the four data sets of `spec` below `root`; returns at once when they are there already.

    `workers` processes render (1: this one); the bytes written do not depend on it. `progress` is called with (films made, films
    in all). `phantom.json` is written last, so an interrupted folder is made again from the start. Raises PhantomError when the
    folder holds data sets that no phantom made.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: give 1 or more")
    done = _finished(root, spec)
    if done is not None:
        return done
    _clear(root)
    prognosis, severity = list(plan.prognosis_films(spec)), list(plan.severity_films(spec))
    lungs, held_out = list(plan.lung_films(spec)), list(plan.held_out_films(spec))
    films = [*prognosis, *severity, *lungs, *held_out]
    for folder in sorted({Path(path).parent for film in films for path in (film.path, film.mask) if path}):
        (root / folder).mkdir(parents=True, exist_ok=True)
    fractions = []
    for made, fraction in enumerate(_made(root, films, workers), start=1):
        fractions.append(fraction)
        if progress is not None:
            progress(made, len(films))
    tables.write_prognosis(root / "AIforCOVID", prognosis)
    tables.write_severity(root / "BRIXIA", severity)
    if lungs:
        start = len(prognosis) + len(severity)
        tables.write_pairs(root / "lung-masks", lungs, fractions[start : start + len(lungs)])
    tables.write_truth(root / "held-out", held_out, spec)
    report = _report(spec, prognosis, severity, {"lung-masks": len(lungs), "held-out": len(held_out)})
    _finish(root, spec, report)
    return report


def is_generated(film: Path) -> bool:
    """Whether the file lies in a folder that a phantom was made in."""
    return any((folder / NOTICE).is_file() for folder in film.parents)


def make(root: str, film: plan.FilmPlan) -> float:
    """Renders and writes one film, and its mask if planned; returns the share of the film that is lung, 0..1."""
    exposure = expose(film)
    write_film(Path(root) / film.path, film, exposure)
    mask = exposure.view.mask(exposure.anatomy)
    if film.mask is not None:
        write_mask(Path(root) / film.mask, mask)
    return float(mask.mean())


def _made(root: Path, films: Sequence[plan.FilmPlan], workers: int) -> Iterator[float]:
    """Makes all films; yields in their order."""
    places = [str(root)] * len(films)
    if workers == 1:
        yield from map(make, places, films)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(make, places, films, chunksize=4)


def _finished(root: Path, spec: PhantomSpec) -> PhantomReport | None:
    marker = root / MARKER
    if not marker.is_file():
        return None
    content = json.loads(marker.read_text(encoding="utf-8"))
    return PhantomReport.model_validate(content["report"]) if content.get("digest") == spec.digest() else None


def _clear(root: Path) -> None:
    """Removes an older or interrupted phantom, and nothing else."""
    present = [name for name in _FOLDERS if (root / name).exists()]
    if present and not (root / NOTICE).is_file():
        raise PhantomError(f"{root} holds {', '.join(present)} that no phantom made (no {NOTICE}): give another folder")
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).unlink(missing_ok=True)
    (root / NOTICE).write_text(_NOTICE_TEXT, encoding="utf-8")
    for name in present:
        shutil.rmtree(root / name)


def _report(
    spec: PhantomSpec, prognosis: Sequence[plan.FilmPlan], severity: Sequence[plan.FilmPlan], others: dict[str, int]
) -> PhantomReport:
    outcome = np.array([film.severe for film in prognosis])
    p = bayes_probability(np.array([f.scores for f in prognosis]), [f.style for f in prognosis], spec.loading, spec.link)
    zones = np.array([film.scores for film in severity])
    names = {False: "MILD", True: "SEVERE"}
    centres = sorted({film.style for film in prognosis})
    per_centre = {c: Counter(names[bool(film.severe)] for film in prognosis if film.style == c) for c in centres}
    categories = Counter(str(severity_category(film.global_score)) for film in severity)
    return PhantomReport(
        films={"AIforCOVID": len(prognosis), "BRIXIA": len(severity), **others},
        patients={"AIforCOVID": len({f.patient for f in prognosis}), "BRIXIA": len({f.patient for f in severity})},
        prognosis={"MILD": int((~outcome).sum()), "SEVERE": int(outcome.sum())},
        prognosis_by_centre={centre: dict(sorted(counts.items())) for centre, counts in per_centre.items()},
        severity=dict(sorted(categories.items())),
        zone_counts={zone: np.bincount(zones[:, k], minlength=4).tolist() for k, zone in enumerate("ABCDEF")},
        global_score_mean=round(float(zones.sum(axis=1).mean()), 3),
        global_score_sd=round(float(zones.sum(axis=1).std()), 3),
        bayes_accuracy_population=round(bayes_accuracy(spec.loading, spec.link), 4),
        bayes_accuracy_expected=round(float(np.maximum(p, 1 - p).mean()), 4),
        bayes_accuracy_realised=round(float(((p >= 0.5) == outcome).mean()), 4),
    )


def _finish(root: Path, spec: PhantomSpec, report: PhantomReport) -> None:
    """Writes the marker atomically: it exists complete or not at all."""
    content = {"spec": spec.model_dump(mode="json"), "digest": spec.digest(), "report": report.model_dump(mode="json")}
    partial = root / f"{MARKER}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(root / MARKER)
