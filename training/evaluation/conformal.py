"""Which classes a film can be of, and when to abstain: class-conditional split conformal prediction.

Every class has its own threshold (Mondrian; Vovk, Gammerman and Shafer, 2005), because one threshold for all would cover the frequent
class and give up the rare one. The score of a class is 1 − its probability (Angelopoulos and Bates, 2023, section 1). The promise, a
true class is in its set with probability ≥ 1 − alpha, holds where validation and test films are exchangeable: in cross-validation about
so (the same validation films chose the epoch and the temperature, which flatters them a little), for a centre never seen it is not
promised, and the reported coverage says what came of it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from cxr.conformal import prediction_sets
from cxr.tasks import Task

ALPHA = 0.1


def thresholds(probabilities: NDArray[np.float64], truth: NDArray[np.int64], alpha: float = ALPHA) -> NDArray[np.float64]:
    """Validation probabilities (N, C) and truth (N,) → (C,): the highest score at which a class is still in the set.

    The k-th smallest score of the n films of the class, k = ⌈(n + 1)(1 − alpha)⌉. Where k > n (at alpha 0.1: fewer than 9 films) no
    film can vouch for the level: the threshold is infinite and the class is in every set. Raises ValueError for alpha outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha} is no error rate; allowed: above 0 and below 1, for example {ALPHA}")
    limits = np.full(probabilities.shape[1], np.inf)
    for i in range(len(limits)):
        scores = np.sort(1 - probabilities[truth == i, i])
        k = math.ceil((len(scores) + 1) * (1 - alpha) - 1e-9)  # a whole product must not be rounded up for its last bit
        if k <= len(scores):
            limits[i] = scores[k - 1]
    return limits


def abstained(sets: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N, C) → (N,): the set is not a single class, so there is nothing to answer."""
    silent: NDArray[np.bool_] = sets.sum(axis=1) != 1
    return silent


def conformal_figures(
    task: Task,
    val_probabilities: NDArray[np.float64],
    val_truth: NDArray[np.int64],
    test_probabilities: NDArray[np.float64],
    test_truth: NDArray[np.int64],
    alpha: float = ALPHA,
) -> dict[str, float]:
    """How sets with thresholds from the validation films do on the test films (`set_figures`); probabilities (N, C) calibrated, truth
    (N,). Raises ValueError without test films."""
    return set_figures(task, prediction_sets(test_probabilities, thresholds(val_probabilities, val_truth, alpha)), test_truth)


def set_figures(task: Task, sets: NDArray[np.bool_], truth: NDArray[np.int64]) -> dict[str, float]:
    """What sets (N, C) came to on films whose truth (N,) is known.

    "coverage_<class>" (share of its films whose set holds it, aim 1 − alpha; left out where the class has no film), "abstained"
    (share of films), "set_size" (mean, 0 to C), "acc_answered" (share right of the films answered, the answer being the one class of
    the set; left out where every film is abstained from). Raises ValueError without films.
    """
    if not len(truth):
        raise ValueError(f"task {task.name!r} has 0 test films; at least 1 is needed: leave the part out")
    covered, silent = sets[np.arange(len(truth)), truth], abstained(sets)
    figures = {
        f"coverage_{name.lower()}": float(covered[truth == i].mean()) for i, name in enumerate(task.classes) if (truth == i).any()
    }
    figures |= {"abstained": float(silent.mean()), "set_size": float(sets.sum(axis=1).mean())}
    if not silent.all():
        figures["acc_answered"] = float(covered[~silent].mean())
    return figures
