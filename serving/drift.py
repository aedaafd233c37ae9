"""Whether the films that come in are still like those of training: the class mix and the input score, against what the bundle carries.

Two numbers per question, of the last WINDOW films that one version answered. For classes: the total variation distance between the
shares of the labels now and among the films it was calibrated on (0: the same, 1: nothing in common). For the input score of the gate:
the share of films above the score that one training film in twenty exceeds (0.05 where nothing has changed).
"""

import threading
from collections import Counter, deque

from cxr.bundle import Bundle
from cxr.prediction import Prediction

WINDOW = 1000
ENOUGH = 30  # films; the share among fewer says nothing


class Drift:
    """Counts the latest films of the bundle that is served; another bundle begins anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digest = ""
        self._labels: dict[str, deque[str]] = {}
        self._unusual: deque[bool] = deque(maxlen=WINDOW)

    def add(self, bundle: Bundle, prediction: Prediction) -> None:
        """One film was answered."""
        with self._lock:
            if bundle.digest != self._digest:
                self._digest, self._labels = bundle.digest, {}
                self._unusual.clear()
            typical = bundle.gate.model.typical if bundle.gate.model else ()
            if prediction.film.score is not None and typical:
                self._unusual.append(prediction.film.score > typical[-1])
            for task, answer in prediction.answers.items():
                self._labels.setdefault(task, deque(maxlen=WINDOW)).append(answer.label)

    def classes(self, bundle: Bundle) -> dict[str, float]:
        """Task → distance from the reference; tasks without a reference, and too few films, are left out."""
        with self._lock:
            seen = {task: Counter(labels) for task, labels in self._labels.items() if bundle.digest == self._digest}
        return {
            task: distance(counts, bundle.manifest.class_mix[task])
            for task, counts in seen.items()
            if task in bundle.manifest.class_mix and counts.total() >= ENOUGH
        }

    def unusual(self, bundle: Bundle) -> float | None:
        """Share of films whose score is above that of 95 % of the training films; None without a gate or with too few films."""
        with self._lock:
            if bundle.digest != self._digest or len(self._unusual) < ENOUGH:
                return None
            return sum(self._unusual) / len(self._unusual)


def distance(counts: Counter[str], reference: dict[str, float]) -> float:
    """Total variation distance between the shares of `counts` and `reference`, in [0, 1]."""
    n = counts.total()
    return sum(abs(counts[label] / n - reference.get(label, 0.0)) for label in {*counts, *reference}) / 2
