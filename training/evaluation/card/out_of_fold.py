"""What calibrates the network that is served: the answers that the folds' networks gave to films of patients they had not seen.

The served network is a refit on all films. Its own validation films are a quarter of them, they chose its epoch, and of a rare class
they hold too few for a limit (9 at 90 %): a class without a limit is in every set, so that no answer names a single one. Among the
folds every film is tested once, by a network made in the same way from fewer films, which errs on the side of doubt (cross-conformal
prediction: Vovk, "Cross-conformal predictors", 2015; Barber et al., "Predictive inference with the jackknife+", 2021, section 3).
"""

import numpy as np
from numpy.typing import NDArray

from cxr.conformal import prediction_sets
from cxr.engine import softmax
from training.evaluation.calibration import fit_temperature
from training.evaluation.card.judged import Judged
from training.evaluation.conformal import set_figures, thresholds
from training.evaluation.metrics import brier, expected_calibration_error


def out_of_fold(judged: Judged) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits (N, C), each film's up to a constant, and truth (N,) of every film once, also where several folds have tested it."""
    once = _once(judged, np.arange(len(judged.predictions)))
    return _logits(judged)[once], judged.predictions.truth[once]


def calibrate(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """Logits (N, C) and truth (N,) → the temperature, and the limits (C,) of the sets under it. Raises ValueError without films."""
    temperature = fit_temperature(logits, truth)
    return temperature, thresholds(softmax(logits, temperature), truth)


def as_served(judged: Judged) -> dict[str, float]:
    """What the served calibration is worth: each fold's films with temperature and limits from those of the other folds, none of them of
    the same patient; all films together.

    "ece", "brier", both also with "_calibrated", and those of `set_figures`. Empty where a fold has no other to be calibrated by.
    """
    predictions, logits = judged.predictions, _logits(judged)
    fold_of = np.repeat(np.arange(len(judged.folds)), [len(fold.answers()) for fold in judged.folds])
    calibrated, sets = np.empty_like(logits), np.empty(logits.shape, dtype=bool)
    for fold in range(len(judged.folds)):
        tested = fold_of == fold
        others = _once(judged, np.flatnonzero(~_of_persons_in(judged, tested)))
        if not len(others):
            return {}
        temperature, limits = calibrate(logits[others], predictions.truth[others])
        calibrated[tested] = softmax(logits[tested], temperature)
        sets[tested] = prediction_sets(calibrated[tested], limits)
    before, truth = predictions.probabilities, predictions.truth
    return {
        "ece": float(expected_calibration_error(truth, before)),
        "ece_calibrated": float(expected_calibration_error(truth, calibrated)),
        "brier": float(brier(truth, before)),
        "brier_calibrated": float(brier(truth, calibrated)),
        **set_figures(judged.task, sets, truth),
    }


def _logits(judged: Judged) -> NDArray[np.float64]:
    logits: NDArray[np.float64] = np.log(judged.predictions.probabilities.clip(1e-12))
    return logits


def _once(judged: Judged, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of the `chosen` places, the first of each film."""
    films = np.array(judged.predictions.films)[chosen]
    return chosen[np.sort(np.unique(films, return_index=True)[1])]


def _of_persons_in(judged: Judged, tested: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,): which films are of a patient of whom one is `tested`."""
    patients = judged.predictions.patients
    if patients is None:
        return tested
    of_them: NDArray[np.bool_] = np.isin(patients, patients[tested])
    return of_them
