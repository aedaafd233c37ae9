"""Gray film → lung mask + verdict. The U-Net is an ONNX graph; what surrounds it is plain image processing.

The network sees the whole film squeezed to 256×256 (paper section 3.1; the authors do the same). Its mask is cleaned as the
authors clean theirs: objects and holes under 2 % of the picture go, the two largest objects stay.
"""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.graphs import EngineName, Graph, Precision

MASK_SIZE = 256  # pixels a side that the U-Net sees
_TOUCHING_WIDTH = 0.75  # one object at least this wide for its height is two lungs that touch, not one lung


class Verdict(StrEnum):
    """What the segmentation found. `ONE_LUNG` is answered with a warning, `NO_LUNGS` is never cropped."""

    BOTH_LUNGS = "both-lungs"
    ONE_LUNG = "one-lung"
    NO_LUNGS = "no-lungs"


class Segmenter(Protocol):
    """Anything that marks lungs on a gray film; `digest` names it in caches and answers."""

    digest: str

    def probability(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Gray film (H, W) uint8 → probability of lung (256, 256) in [0, 1]."""


class OnnxSegmenter:
    """The U-Net as exported by `training.learning.segmenter`: input "film" (N,1,256,256) in [0,1], output "lungs" likewise."""

    def __init__(
        self,
        graph: bytes,
        threads: int = 1,
        engine: EngineName = "onnxruntime",
        precision: Precision = "float32",
        streams: int = 1,
    ) -> None:
        self.digest = hashlib.sha256(graph).hexdigest()
        self.graph = Graph(graph, engine, precision, threads, streams)

    @classmethod
    def from_file(
        cls, path: Path, threads: int = 1, engine: EngineName = "onnxruntime", precision: Precision = "float32"
    ) -> "OnnxSegmenter":
        return cls(path.read_bytes(), threads, engine, precision)

    def probability(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        small = Image.fromarray(gray).resize((MASK_SIZE, MASK_SIZE), Image.Resampling.BILINEAR)
        batch = np.asarray(small, dtype=np.float32)[None, None] / 255.0  # (1, 1, 256, 256)
        lungs: NDArray[np.float32] = self.graph.run(["lungs"], {"film": batch})[0]
        mask: NDArray[np.float32] = lungs[0, 0]
        return mask


def clean(mask: NDArray[np.bool_], smallest: float = 0.02) -> NDArray[np.bool_]:
    """Binary mask (H, W) → the two largest objects, without objects and holes under `smallest` of the picture's area.

    Objects go first: a hole is judged only in what remains.
    """
    # Here: it takes a third of a second to import, which a service that starts spends beside the loading of its graphs.
    from scipy import ndimage

    area = smallest * mask.size
    labelled, n = ndimage.label(mask)
    sizes = np.bincount(labelled.ravel(), minlength=n + 1)
    sizes[0] = 0  # the background is no object, and comes last
    keep = [i for i in np.argsort(sizes, kind="stable")[::-1][:2] if i and sizes[i] >= area]
    lungs = np.isin(labelled, keep)
    holes, n = ndimage.label(~lungs)
    small = [i for i, size in enumerate(np.bincount(holes.ravel(), minlength=n + 1)) if i and size < area]
    filled: NDArray[np.bool_] = lungs | np.isin(holes, small)
    return filled


def judge(lungs: NDArray[np.bool_]) -> Verdict:
    """Cleaned mask → verdict."""
    from scipy import ndimage

    _, n = ndimage.label(lungs)
    if n == 0:
        return Verdict.NO_LUNGS
    if n >= 2:
        return Verdict.BOTH_LUNGS
    height = int(np.ptp(np.flatnonzero(lungs.any(axis=1)))) + 1
    width = int(np.ptp(np.flatnonzero(lungs.any(axis=0)))) + 1
    return Verdict.BOTH_LUNGS if width >= _TOUCHING_WIDTH * height else Verdict.ONE_LUNG
