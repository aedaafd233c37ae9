"""Generated chests that differ in place, size and tone, and a gate fitted to them with a segmenter that takes dark for lung."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from cxr.gate import GateModel
from cxr.intensity import to_gray8
from cxr.measures import Seen, measure
from cxr.pipeline import PipelineSpec, look
from cxr.segmentation import OnnxSegmenter
from tests.serving.tiny_bundle import _segmenter
from training.input_gate import SPOILING, GateFilm, fit_gate

SPEC = PipelineSpec(size=64)


def chest(seed: int, height: int = 200, width: int = 200) -> NDArray[np.uint8]:
    """A film as prepared, with dark lungs, a bright heart on one side, bright belly and black upper corners."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    picture = 170 + 60 * y + rng.normal(0, 5, (height, width))
    across, down, wide, high = rng.normal(0, 0.015, 4)
    for centre in (0.3, 0.7):
        inside = ((x - centre - across) / (0.14 + wide)) ** 2 + ((y - 0.48 - down) / (0.33 + high)) ** 2 < 1
        picture[inside] = 60 + 15 * rng.random() + 30 * y[inside] + rng.normal(0, 4, inside.sum())
    heart = ((x - 0.55 - across) / 0.1) ** 2 + ((y - 0.68 - down) / 0.13) ** 2 < 1
    picture[heart] = 220
    picture[(y < 0.12) & ((x < 0.15) | (x > 0.85))] = 130
    return to_gray8(picture.astype(np.float32))


@cache
def segmenter() -> OnnxSegmenter:
    return OnnxSegmenter(_segmenter())


def seen(gray: NDArray[np.uint8]) -> Seen:
    return look(gray, SPEC, segmenter())


@cache
def films(count: int = 120) -> tuple[GateFilm, ...]:
    """Two films of each patient."""
    spoil = list(SPOILING.values())
    found = []
    for i in range(count):
        copy = seen(np.ascontiguousarray(spoil[i % len(spoil)](chest(i))))
        spoilt = measure(copy) if copy.lungs.any() else None
        found.append(GateFilm("chests", f"patient {i // 2}", measure(seen(chest(i))), spoilt))
    return tuple(found)


@cache
def gate_model() -> GateModel:
    return fit_gate(films())
