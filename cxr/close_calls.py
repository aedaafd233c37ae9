"""The films on which a U-Net in a lower precision must not have the last word: float32 looks at them again.

The network always computes in float32, so an answer is float32's to the last bit as soon as the crop is. A crop is four edges of a
mask: it is certain where it stays the same, and the verdict with it, while the threshold moves by more than a lower precision moves
probabilities. What the gate refuses, or nearly, is decided by float32 as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.cropping import Box, lung_box
from cxr.gate import Gate
from cxr.measures import Seen
from cxr.pipeline import Looked, PipelineSpec, look
from cxr.precision import LEAST_IOU, Margins
from cxr.segmentation import Segmenter, Verdict, clean, judge

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CloseCalls:
    """A quick look (`cxr.pipeline.QuickLook`) through `segmenter`, a U-Net in a lower precision that is trusted within `margins`."""

    segmenter: Segmenter
    spec: PipelineSpec
    margins: Margins

    def __call__(self, gray: NDArray[np.uint8], gate: Gate | None) -> Looked | None:
        """Gray film → what is seen; None where it is a close call."""
        seen = look(gray, self.spec, self.segmenter)
        if not is_certain(seen, self.spec, self.margins.lungs):
            return None
        score = None if gate is None else gate.score_of(seen)
        refused = (
            score is not None
            and gate is not None
            and gate.model is not None
            and self.margins.refuses(score, gate.model.threshold)
        )
        return None if refused else Looked(seen, score)


def is_certain(seen: Seen, spec: PipelineSpec, within: float) -> bool:
    """Whether a threshold `within` lower and higher gives the same crop and verdict, and about the same mask.

    A film without lungs never is, and none is where the crop shows every pixel of the mask ("masked").
    """
    found = _found(seen.lungs, seen, spec)
    if found[0] is Verdict.NO_LUNGS or spec.crop == "masked":
        return False
    for threshold in (spec.threshold - within, spec.threshold + within):  # the mask of float32 lies between both
        moved = clean(seen.probability >= threshold, spec.smallest)
        if _found(moved, seen, spec) != found or iou(moved, seen.lungs) < LEAST_IOU:
            return False
    return True


def _found(lungs: Mask, seen: Seen, spec: PipelineSpec) -> tuple[Verdict, Box | None]:
    verdict = judge(lungs)
    height, width = seen.gray.shape
    return verdict, None if verdict is Verdict.NO_LUNGS else lung_box(lungs, (height, width), spec.margin)


def iou(one: Mask, other: Mask) -> float:
    """Overlap of two masks of equal shape, |A ∩ B| / |A ∪ B|: 0..1, and 1 when both are empty."""
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0
