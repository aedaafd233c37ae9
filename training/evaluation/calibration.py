"""Temperature scaling (Guo et al., 2017): one number per task that makes probabilities mean what they say, and moves no label."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from cxr.engine import softmax

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
