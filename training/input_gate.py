"""Fits the input gate (`cxr.gate`) to training films: what is typical, how it varies, and the score that held-out films stay under."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from cxr.errors import FilmError
from cxr.gate import REMEDIES, Gate, GateModel, Likeness, combined
from cxr.intensity import to_gray8
from cxr.measures import REVISION, Measured, measure
from cxr.pipeline import PipelineSpec, look
from cxr.reading import TRAINING, read
from cxr.segmentation import Segmenter
from training.data.cohort import Cohort

# What is done to a copy of a film to show the gate what it must not take.
SPOILING: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    **REMEDIES,
    "upper left quarter": lambda gray: gray[: gray.shape[0] // 2, : gray.shape[1] // 2],
}
MOST_FILMS = 400  # more films cost registration seconds and move the threshold by less than its own spread
LEAST_FILMS = 40  # fewer say nothing about the tail of thirty measures; and so many spoilt ones on which lungs are found
LIMIT = 0.99  # quantile of held-out films that is the limit of distance and of odds
STRENGTH = 0.1  # of the logistic regression, scikit-learn's C
ACCEPTED = 0.98  # share of held-out training films that pass
FOLDS, BASIS = 5, 12
TYPICAL = (0.05, 0.25, 0.5, 0.75, 0.95)
SEED = 20261123


class GateFilm(NamedTuple):
    """A training film as the gate sees it."""

    cohort: str
    patient: str
    measured: Measured
    spoilt: Measured | None  # a copy of it, inverted, turned or cut; None where the segmenter finds no lungs on it


def gate_of(cohorts: Sequence[Cohort], spec: PipelineSpec, segmenter: Segmenter) -> GateModel | None:
    """The gate for a bundle trained on these cohorts; None where they hold too few films or patients to fit one."""
    films = measure_cohorts(cohorts, spec, segmenter)
    return fit_gate(films) if is_enough(films) else None


def is_enough(films: Sequence[GateFilm]) -> bool:
    spoilt = sum(film.spoilt is not None for film in films)
    return min(len(films), spoilt) >= LEAST_FILMS and len({film.patient for film in films}) >= FOLDS


def fit_gate(films: Sequence[GateFilm], accepted: float = ACCEPTED) -> GateModel:
    """Films of one or more patients each → gate. The threshold is the score that a share `accepted` of the films stays under when the
    gate is fitted without them and their patients' other films.

    Raises ValueError for fewer than LEAST_FILMS films or FOLDS patients.
    """
    if not is_enough(films):
        patients = len({film.patient for film in films})
        raise ValueError(
            f"{len(films)} films of {patients} patients; a gate needs {LEAST_FILMS} films, as many spoilt ones with lungs, and {FOLDS} "
            "patients or more"
        )
    apart = held_out_parts(films)
    limits = {"distance_limit": float(np.quantile(apart[:, 0], LIMIT)), "odds_limit": float(np.quantile(apart[:, 1], LIMIT))}
    scores = np.array([combined(distance, odds, **limits) for distance, odds in apart.tolist()])
    threshold = float(np.quantile(scores, accepted, method="higher"))
    cohorts = tuple(sorted({film.cohort for film in films}))
    return _fitted(films).model_copy(
        update={
            "threshold": threshold,
            "accepted": float((scores <= threshold).mean()),
            "typical": tuple(np.quantile(scores, TYPICAL).tolist()),
            "cohorts": cohorts,
            **limits,
        }
    )


def held_out_parts(films: Sequence[GateFilm]) -> NDArray[np.float64]:
    """(N, 2) distance and odds of every film by a gate that was fitted to other patients."""
    parts = np.zeros((len(films), 2))
    for fitting, held in GroupKFold(FOLDS).split(films, groups=[film.patient for film in films]):
        gate = Gate(_fitted([films[i] for i in fitting]))
        parts[held] = [(gate.distance(films[i].measured), gate.odds(films[i].measured)) for i in held]
    return parts


def measure_cohorts(
    cohorts: Sequence[Cohort], spec: PipelineSpec, segmenter: Segmenter, most: int = MOST_FILMS
) -> list[GateFilm]:
    """Up to `most` readable films of the cohorts, in equal shares as far as they go, drawn by a seed. Films without lungs are left out."""
    films: list[GateFilm] = []
    for done, cohort in enumerate(sorted(cohorts, key=lambda c: len(c.rows))):
        share = (most - len(films)) // (len(cohorts) - done)
        order = np.random.default_rng(SEED).permutation(len(cohort.rows))[:share]
        films += _measured(cohort, sorted(order), spec, segmenter)
    return films


def _measured(cohort: Cohort, order: Iterable[int], spec: PipelineSpec, segmenter: Segmenter) -> Iterable[GateFilm]:
    for index in order:
        row = cohort.rows[index]
        try:
            gray = to_gray8(read(row.image.read_bytes(), formats=TRAINING).pixels, spec.low, spec.high)
        except FilmError:  # the film store lists it
            continue
        seen = look(gray, spec, segmenter)
        if seen.lungs.any():
            spoil = list(SPOILING.values())[index % len(SPOILING)]
            spoilt = look(np.ascontiguousarray(spoil(gray)), spec, segmenter)
            yield GateFilm(cohort.name, row.patient, measure(seen), measure(spoilt) if spoilt.lungs.any() else None)


def _fitted(films: Sequence[GateFilm]) -> GateModel:
    """Everything but threshold and limits."""
    chest, chest_basis = _mean_and_basis([film.measured.chest for film in films])
    film, film_basis = _mean_and_basis([film.measured.film for film in films])
    likeness = Likeness(chest, chest_basis, film, film_basis)
    numbers = np.stack([likeness.numbers(film.measured) for film in films])
    middle = np.median(numbers, axis=0)
    spread = 1.4826 * np.median(np.abs(numbers - middle), axis=0)
    scale = np.maximum(spread, 0.25 * numbers.std(axis=0) + 1e-6)  # a measure that is nearly always the same has no median spread
    standard = (numbers - middle) / scale
    centre = middle + standard.mean(axis=0) * scale
    model = GateModel(
        revision=REVISION,
        threshold=1.0,
        films=len(films),
        accepted=0.0,
        typical=(),
        cohorts=(),
        chest=_rounded(chest),
        chest_basis=tuple(map(_rounded, chest_basis)),
        film=_rounded(film),
        film_basis=tuple(map(_rounded, film_basis)),
        centre=tuple(centre.tolist()),
        scale=tuple(scale.tolist()),
        precision=tuple(tuple(row) for row in LedoitWolf().fit(standard).precision_.tolist()),
        weights=(0.0,) * (numbers.shape[1] + len(chest_basis) + len(film_basis)),
        bias=0.0,
        distance_limit=1.0,
        odds_limit=0.0,
    )
    gate = Gate(model)
    whole = [gate.evidence(film.measured) for film in films]
    spoilt = [gate.evidence(film.spoilt) for film in films if film.spoilt is not None]
    truth = [0] * len(whole) + [1] * len(spoilt)
    fit = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2000).fit(np.stack([*whole, *spoilt]), truth)
    return model.model_copy(update={"weights": _rounded(fit.coef_[0]), "bias": float(fit.intercept_[0])})


def _mean_and_basis(pictures: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    stack = np.stack(pictures)
    mean = stack.mean(axis=0)
    return mean, np.linalg.svd(stack - mean, full_matrices=False)[2][:BASIS]


def _rounded(row: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(row, 6).tolist())
