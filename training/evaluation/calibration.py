"""Temperature scaling (Guo et al., 2017): one number per task that makes probabilities mean what they say, and moves no label."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from cxr.engine import softmax
from cxr.tasks import Task
from training.evaluation.metrics import brier, expected_calibration_error

BOUNDS = (0.05, 20.0)


def negative_log_likelihood(logits: NDArray[np.floating], truth: NDArray[np.int64], temperature: float) -> float:
    """Mean over films; logits (N, C), truth (N,)."""
    probabilities = softmax(logits, temperature)
    return float(-np.log(np.clip(probabilities[np.arange(len(truth)), truth], 1e-12, 1)).mean())


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """The temperature with the lowest negative log-likelihood on validation films, within `BOUNDS`.

    Raises ValueError without films: an uncalibrated model must not pass for a calibrated one.
    """
    if len(truth) == 0:
        raise ValueError("no validation films of this task: nothing to calibrate on")
    low, high = np.log(BOUNDS[0]), np.log(BOUNDS[1])
    found = minimize_scalar(
        lambda t: negative_log_likelihood(logits, truth, float(np.exp(t))), bounds=(low, high), method="bounded"
    )
    return float(np.exp(found.x))


def calibrated_figures(
    task: Task,
    val_logits: NDArray[np.floating],
    val_truth: NDArray[np.int64],
    test_logits: NDArray[np.floating],
    test_truth: NDArray[np.int64],
) -> dict[str, float]:
    """What calibration changes on the test films; the temperature has seen the validation films only.

    Logits (N, C), truth (N,). "temperature" (within `BOUNDS`), "ece_calibrated" (0 to 1, 10 bins), "brier_calibrated" (0 to 2), "nll"
    and "nll_calibrated" (nats per film, before and after). Raises ValueError where there are no films or not C logits each.
    """
    for part, logits, truth in (("validation", val_logits, val_truth), ("test", test_logits, test_truth)):
        wanted = (len(truth), len(task.classes))
        if logits.shape != wanted or not len(truth):
            raise ValueError(
                f"task {task.name!r}: {part} logits are {logits.shape} for {len(truth)} labels; allowed: one row per label, "
                f"{wanted[1]} columns, at least one film. Calibrate only where the part has labels of the task"
            )
    temperature = fit_temperature(val_logits, val_truth)
    probabilities = softmax(test_logits, temperature)
    return {
        "temperature": temperature,
        "ece_calibrated": float(expected_calibration_error(test_truth, probabilities)),
        "brier_calibrated": float(brier(test_truth, probabilities)),
        "nll": negative_log_likelihood(test_logits, test_truth, 1.0),
        "nll_calibrated": negative_log_likelihood(test_logits, test_truth, temperature),
    }
