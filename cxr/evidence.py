"""Where on the film an answer was seen: the network's coarse evidence, read for a question and laid back over the film."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.cropping import Box
from cxr.pipeline import Film
from cxr.tasks import Task

LABEL, WORSE = "label", "worse"


def asked_of(task: Task) -> tuple[str, ...]:
    """Names of the questions that a task has, the usual one last."""
    return (LABEL, WORSE) if task.ordinal or task.positive is not None else (LABEL,)


def questions(task: Task, index: int, probabilities: tuple[float, ...]) -> dict[str, NDArray[np.float64]]:
    """What evidence can be asked for → how each logit counts, (C,).

    "label": the logit of the class answered, which is Grad-CAM as published. "worse": the expected class of an ordinal task, the
    probability of the positive class of a binary one; what raises it is what speaks for the worse. A film answered as healthy is seen
    as such where it is healthy, so its disease shows in the second map alone. Tasks without an order have the first only.
    """
    asked = {LABEL: np.eye(len(probabilities))[index]}
    if WORSE in asked_of(task):
        scores = np.arange(len(probabilities)) if task.ordinal else np.eye(len(probabilities))[task.positive]
        shares = np.asarray(probabilities)
        asked[WORSE] = shares * (scores - shares @ scores)  # the gradient of the expectation by the logits
    return asked


def speaking_for(evidence: NDArray[np.float32], question: NDArray[np.float64]) -> NDArray[np.float32]:
    """Evidence (C, h, w) and how each logit counts (C,) → (h, w), 0 or more: what speaks for it, place by place."""
    raised: NDArray[np.float32] = np.maximum(np.tensordot(question.astype(np.float32), evidence, 1), 0)
    return raised


def shares(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Evidence (h, w), 0 or more → the same summing to 1; all 0 where there is none."""
    total = float(evidence.sum())
    scaled: NDArray[np.float32] = evidence / np.float32(total) if total > 0 else np.zeros_like(evidence)
    return scaled


def over_film(evidence: NDArray[np.float32], box: Box, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Evidence (h, w) of the crop at `box` → (H, W) of the film of `shape`, 0..1 with 1 at its highest, 0 outside the box.

    Enlarged linearly, so that no place is shown sharper than the network saw it.
    """
    enlarged = Image.fromarray(np.ascontiguousarray(evidence, dtype=np.float32)).resize(
        (box.width, box.height), Image.Resampling.BILINEAR
    )
    over: NDArray[np.float32] = np.asarray(
        enlarged.crop((-box.left, -box.top, shape[1] - box.left, shape[0] - box.top)), dtype=np.float32
    )
    peak = float(over.max())
    return over / np.float32(peak) if peak > 0 else over


def inside(evidence: NDArray[np.float32], film: Film) -> float:
    """Share 0..1 of the evidence (h, w) of a film that lies on its lungs; 0 where there is no evidence.

    Weighed on the grid of the lung mask: a finer one would only repeat what the network saw on a coarser.
    """
    rows, columns = film.lungs.shape
    height, width = film.shape
    left, top, right, bottom = film.box
    scaled = Box(
        round(left * columns / width), round(top * rows / height), round(right * columns / width), round(bottom * rows / height)
    )
    over = over_film(evidence, scaled, (rows, columns))
    total = float(over.sum())
    return float(over[film.lungs].sum()) / total if total > 0 else 0.0
