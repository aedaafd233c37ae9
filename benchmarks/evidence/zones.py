"""Phantoms with one diseased zone, and how much of a bundle's evidence falls into the lung that has it."""

import io
from collections.abc import Iterator
from dataclasses import replace
from statistics import mean, median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.bundle import Bundle
from cxr.evidence import over_film, questions, speaking_for
from cxr.prediction import Prediction
from cxr.tasks import Task
from training.data.cohorts.phantom import PhantomSpec
from training.data.cohorts.phantom.acquisition import Exposure, expose
from training.data.cohorts.phantom.plan import held_out_films

SEED = 77  # no cohort is made with it
ZONES = 6  # A-C in the right lung, which is on the left of the film, D-F in the left


class Zone(NamedTuple):
    """A film as PNG, which of its zones is diseased (0-5), and where its lungs are parted (pixel column)."""

    film: bytes
    diseased: int
    parting: int


class Localised(NamedTuple):
    """Of the films with evidence on a question: the share of it on the side of the diseased lung."""

    task: str
    question: str
    films: int
    silent: int  # films where nothing spoke for it
    mean: float
    median: float
    hits: int  # films with at least the goal's share


def zone_films(films: int) -> Iterator[Zone]:
    """Every zone in turn has score 3, all others 0; without tubes, lines and leads, which only ill patients have."""
    for i, plan in enumerate(held_out_films(PhantomSpec.small(seed=SEED, held_out_films=films))):
        scores = tuple(3 if zone == i % ZONES else 0 for zone in range(ZONES))
        exposure = expose(replace(plan, scores=scores, tube=False, line=False, leads=False))
        out = io.BytesIO()
        Image.fromarray((exposure.picture * 255).astype(np.uint8)).save(out, "PNG")
        yield Zone(out.getvalue(), i % ZONES, _parting(exposure))


def _parting(exposure: Exposure) -> int:
    right, left = (exposure.view.to_pixels(exposure.anatomy.lung(side))[:, 0] for side in (-1, 1))
    return round(float(right.max() + left.min()) / 2)


def localised(bundle: Bundle, films: list[Zone], goal: float) -> list[Localised]:
    """For every task and question."""
    answered = [(film, bundle.predict_film(bundle.prepare(film.film, gated=False), explain=True)) for film in films]
    return [
        _localised(task, question, answered, goal)
        for task in bundle.tasks
        for question in questions(task, 0, (1.0,) * len(task.classes))
    ]


def _localised(task: Task, question: str, answered: list[tuple[Zone, Prediction]], goal: float) -> Localised:
    shares = []
    for film, prediction in answered:
        given = prediction.answers[task.name]
        how = questions(task, given.index, given.probabilities)[question]
        seen = speaking_for(prediction.evidence[task.name], how)
        if seen.any():
            shares.append(on_the_side(over_film(seen, prediction.film.box, prediction.film.shape), film))
    silent = len(answered) - len(shares)
    if not shares:
        return Localised(task.name, question, 0, silent, float("nan"), float("nan"), 0)
    hits = sum(share >= goal for share in shares)
    return Localised(task.name, question, len(shares), silent, mean(shares), median(shares), hits)


def on_the_side(over: NDArray[np.float32], film: Zone) -> float:
    """Share 0..1 of the evidence over a film (H, W) that lies on the side of its diseased lung."""
    right = float(over[:, : film.parting].sum() / over.sum())
    return right if film.diseased < ZONES / 2 else 1 - right
