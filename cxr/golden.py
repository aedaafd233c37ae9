"""Golden cases: films whose answers a bundle records, so that a machine can see that it computes what was registered."""

import math

import numpy as np

from cxr.manifest import BundleError, GoldenCase
from cxr.prediction import Prediction

GOLDEN_TOLERANCE = 1e-3  # in probability: another processor rounds differently, another network does not hit this
GOLDEN_SHIFT = 2  # pixels of the golden film that its box may move by, for the same reason


def compare(prediction: Prediction, expected: GoldenCase, tolerance: float) -> None:
    """Raises BundleError where a golden film was prepared otherwise than recorded, or its probabilities are off beyond `tolerance`."""
    if {name: len(row) for name, row in expected.probabilities.items()} != {
        name: len(answer.probabilities) for name, answer in prediction.answers.items()
    }:
        raise BundleError(
            f"the golden case records {sorted(expected.probabilities)}; the network answers {sorted(prediction.answers)}"
        )
    shift = max(abs(a - b) for a, b in zip(prediction.film.box, expected.box, strict=True))
    if shift > GOLDEN_SHIFT:
        raise BundleError(
            f"the golden film's lungs are found {shift} pixels away from where they were recorded (allowed {GOLDEN_SHIFT}): "
            "preparation on this machine is not what was registered; do not serve it",
            "golden",
        )
    distances = [
        abs(got - wanted)
        for name, answer in prediction.answers.items()
        for got, wanted in zip(answer.probabilities, expected.probabilities[name], strict=True)
    ]
    worst = float(np.max(distances))
    if math.isnan(worst):
        raise BundleError("the golden case is answered with what is no number: the network's weights are damaged", "not-a-number")
    if not worst <= tolerance:
        raise BundleError(
            f"the golden case answers {worst:.4f} away from the recorded probability (allowed {tolerance}): "
            "this machine or these files do not compute what was registered; do not serve them",
            "golden",
        )
