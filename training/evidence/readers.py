"""Answers about severity as a radiologist gives them: a Brixia global score and its category, compared with the senior's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.tasks import SEVERITY, ZONES, severity_category, zone_scores
from training.data.cohort import Row
from training.evaluation.bootstrap import weights_of
from training.evaluation.metrics import from_counts
from training.evidence.answers import Answered

Floats = NDArray[np.float64]
DRAWS, SEED = 2000, 0
METRICS = ("acc", "kappa", "score_mae")
LOWER_IS_BETTER = ("score_mae",)
CATEGORY = np.array([severity_category(score) for score in range(19)])
MIDDLES = np.array([(low + high) / 2 for low, high in SEVERITY.ranges])  # of a category, where only that was answered


@dataclass(frozen=True)
class Reading:
    """`category` (N,) 0..3 and `score` (N,) 0..18 of N films, by whoever read them."""

    category: NDArray[np.int64]
    score: Floats


def by_reader(rows: Sequence[Row], attribute: str) -> Reading:
    """What a radiologist wrote: the zones in the `attribute` of each row."""
    scores = np.array([sum(zone_scores(row.attributes[attribute])) for row in rows])
    return Reading(CATEGORY[scores], scores.astype(float))


def by_network(answers: Mapping[str, Floats]) -> Reading:
    """Probabilities (N, C) of tasks → reading: from the zones where all six are answered, else the global score, else the category.

    Zones are taken as independent given the film, so the distribution of their sum is the convolution of theirs. The category is the
    most probable one, the score the expected one.
    """
    if all(zone.name in answers for zone in ZONES):
        scores = _sum_of([answers[zone.name] for zone in ZONES])
    elif "global" in answers:
        scores = answers["global"]
    else:
        return Reading(answers[SEVERITY.name].argmax(axis=1), answers[SEVERITY.name] @ MIDDLES)
    categories = np.stack([scores[:, category == CATEGORY].sum(axis=1) for category in range(4)], axis=1)
    return Reading(categories.argmax(axis=1), scores @ np.arange(19))


def agreement(truth: Reading, given: Reading, weights: Floats) -> dict[str, Floats]:
    """METRICS under each row of `weights` (draws, N): share of equal categories, quadratic kappa, mean distance of the global score."""
    cells = np.eye(16)[truth.category * 4 + given.category]
    figures = from_counts(SEVERITY, (weights @ cells).reshape(-1, 4, 4))
    distance = weights @ np.abs(truth.score - given.score) / weights.sum(axis=1)
    return {"acc": figures["acc"], "kappa": figures["kappa"], "score_mae": distance}


def draws_of(rows: Sequence[Row]) -> Floats:
    """(1 + DRAWS, N): all films once, then draws of patients; the same for the same rows, so that differences are paired."""
    patients = np.array([row.patient for row in rows])
    return np.concatenate([np.ones((1, len(rows))), *weights_of(patients, len(rows), DRAWS, SEED)])


def readings(answers: Sequence[Answered]) -> dict[tuple[str, str], dict[str, Reading]]:
    """{(experiment, backbone): {"0": reading of repeat 0, …, "ensemble": of the mean over repeats}}, first scheme and subset.

    A film is tested once in every repeat, by a network that has not seen its patient, so the mean over repeats is an ensemble that has
    not either.
    """
    found: dict[tuple[str, str], dict[str, dict[str, Floats]]] = {}
    for one in answers:
        found.setdefault((one.experiment, one.backbone), {}).setdefault(str(one.repeat), {})[one.task] = one.probabilities
    made = {}
    for key, repeats in found.items():
        made[key] = {name: by_network(tasks) for name, tasks in repeats.items()}
        if len(repeats) > 1:
            tasks = next(iter(repeats.values()))
            made[key]["ensemble"] = _together({t: [r[t] for r in repeats.values()] for t in tasks})
    return made


def of_all_zones(answers: Iterable[Answered]) -> Reading | None:
    """The mean over all networks that answer the six zones, of every experiment, start and repeat; None where these are fewer than two.

    Each film's answer is again of networks that have not seen its patient. All answers must be of the same films in the same order.
    """
    found: dict[str, list[Floats]] = {zone.name: [] for zone in ZONES}
    for one in answers:
        if one.task in found:
            found[one.task].append(one.probabilities)
    if min(map(len, found.values())) < 2:
        return None
    return _together(found)


def _together(answers: Mapping[str, Sequence[Floats]]) -> Reading:
    """The reading of an ensemble: of the mean of what several networks answer to each task."""
    return by_network({task: np.mean(each, axis=0) for task, each in answers.items()})


def _sum_of(parts: Sequence[Floats]) -> Floats:
    """Distributions (N, C) of several whole numbers from 0 → that of their sum, (N, Σ(C − 1) + 1)."""
    total = parts[0]
    for part in parts[1:]:
        wider = np.zeros((len(total), total.shape[1] + part.shape[1] - 1))
        for value in range(part.shape[1]):
            wider[:, value : value + total.shape[1]] += total * part[:, value : value + 1]
        total = wider
    return total
