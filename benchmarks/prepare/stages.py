"""What each stage costs by itself, one thread, own CPU time, all films in memory; and the fastest other way to the same bytes."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image

from cxr.cropping import crop, lung_box
from cxr.graphs import Way
from cxr.intensity import to_gray8
from cxr.pipeline import PipelineSpec
from cxr.reading import TRAINING, Limits, read
from cxr.segmentation import OnnxSegmenter, clean, judge
from training.data.films.unet import REFERENCE


class Stage(NamedTuple):
    """One stage on one film: what the product does, and others that may stand for the ceiling where their result is equal."""

    name: str
    own: Callable[[], Any]
    others: Mapping[str, Callable[[], Any]]


def stages(path: Path, spec: PipelineSpec, segmenter: OnnxSegmenter) -> list[Stage]:
    data = path.read_bytes()
    pixels = read(data, Limits(), TRAINING).pixels
    gray = to_gray8(pixels, spec.low, spec.high)
    probability = segmenter.probability(gray)
    lungs = clean(probability >= spec.threshold, spec.smallest)
    box = lung_box(lungs, gray.shape, spec.margin)
    stored = pixels.astype(np.uint16 if path.suffix == ".dcm" else np.uint8)
    return [
        Stage("file and its digest", lambda: hashlib.sha256(path.read_bytes()).hexdigest(), {}),
        Stage("decode", lambda: read(data, Limits(), TRAINING).pixels, _decoders(data, path.suffix)),
        Stage("window", lambda: to_gray8(pixels, spec.low, spec.high), {"table": lambda: by_table(stored, spec)}),
        Stage("U-Net", lambda: segmenter.probability(gray), {}),
        Stage("clean, judge, box", lambda: _found(probability, gray.shape, spec), {}),
        Stage("crop and resize", lambda: crop(gray, box, spec.size), {"OpenCV area": lambda: _cv2_crop(gray, box, spec.size)}),
    ]


def _decoders(data: bytes, suffix: str) -> dict[str, Callable[[], Any]]:
    raw = np.frombuffer(data, np.uint8)
    if suffix == ".dcm":
        return {"pydicom alone": lambda: pydicom.dcmread(BytesIO(data)).pixel_array.astype(np.float32)}
    return {
        "Pillow alone": lambda: np.asarray(Image.open(BytesIO(data))).astype(np.float32),
        "OpenCV": lambda: cv2.imdecode(raw, cv2.IMREAD_UNCHANGED).astype(np.float32),
    }


def by_table(stored: NDArray[Any], spec: PipelineSpec) -> NDArray[np.uint8]:
    """`to_gray8` of whole numbers: every value is computed once, then looked up."""
    values = np.arange(np.iinfo(stored.dtype).max + 1, dtype=np.float32)
    step = max(1, int((stored.size // 262_144) ** 0.5))
    sample = stored[::step, ::step].ravel()
    low = int((sample.size - 1) * spec.low / 100)
    high = -int(-(sample.size - 1) * spec.high // 100)
    ordered = np.partition(sample, (low, high))
    black, white = np.float32(ordered[low]), np.float32(ordered[high])
    table = np.rint((np.clip(values, black, white) - black) / (white - black) * np.float32(255)).astype(np.uint8)
    return table[stored]


def _found(probability: NDArray[np.float32], shape: tuple[int, int], spec: PipelineSpec) -> Any:
    lungs = clean(probability >= spec.threshold, spec.smallest)
    return judge(lungs), lung_box(lungs, shape, spec.margin)


def _cv2_crop(gray: NDArray[np.uint8], box: Any, size: int) -> NDArray[np.uint8]:
    return cv2.resize(
        gray[max(0, box.top) : box.bottom, max(0, box.left) : box.right], (size, size), interpolation=cv2.INTER_AREA
    )


class Cost(NamedTuple):
    """Own CPU milliseconds per film, of the product's way and of the fastest way with equal results, and which that is."""

    own: float
    ceiling: float
    by: str


def measure(paths: Sequence[Path], spec: PipelineSpec, graph: Path, way: Way, rounds: int) -> dict[str, Cost]:
    """Means over the films of the medians over `rounds`, films and ways in turn."""
    cv2.setNumThreads(1)
    segmenter = OnnxSegmenter.from_file(graph, 1, *way)
    own: dict[str, list[float]] = {}
    best: dict[str, list[float]] = {}
    winners: dict[str, list[str]] = {}
    for path in paths:
        for stage in stages(path, spec, segmenter):
            expected = stage.own()
            equal = {name: other for name, other in stage.others.items() if _same(other(), expected)}
            contenders = {"the product's": stage.own, **equal}
            times: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(rounds):
                for name, run in contenders.items():
                    begun = time.thread_time()
                    run()
                    times[name].append(time.thread_time() - begun)
            medians = {name: 1000 * float(np.median(taken)) for name, taken in times.items()}
            winner = min(medians, key=lambda name: medians[name])
            own.setdefault(stage.name, []).append(medians["the product's"])
            best.setdefault(stage.name, []).append(medians[winner])
            winners.setdefault(stage.name, []).append(winner)
    return {
        name: Cost(float(np.mean(own[name])), float(np.mean(best[name])), _counted(winners[name])) for name in own
    }  # fmt: skip


def _same(found: Any, expected: Any) -> bool:
    return isinstance(expected, np.ndarray) and found.shape == expected.shape and bool(np.array_equal(found, expected))


def _counted(winners: Sequence[str]) -> str:
    return ", ".join(f"{name} ({winners.count(name)} films)" for name in sorted(set(winners)))


__all__ = ["REFERENCE", "Cost", "measure", "stages"]
