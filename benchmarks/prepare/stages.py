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
from training.memory import keep_freed_buffers

OWN = "the product's"


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
    """Means over the films of the medians over `rounds`. All films have their turn in a round, so that none is found in the cache more
    than at work."""
    cv2.setNumThreads(1)
    keep_freed_buffers()  # as a preparing process does
    segmenter = OnnxSegmenter.from_file(graph, 1, *way)
    runs: dict[tuple[str, int, str], Callable[[], Any]] = {}
    for number, path in enumerate(paths):
        for stage in stages(path, spec, segmenter):
            expected = stage.own()
            equal = {name: other for name, other in stage.others.items() if _same(other(), expected)}
            runs |= {(stage.name, number, name): run for name, run in ({OWN: stage.own} | equal).items()}
    times: dict[tuple[str, int, str], list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            begun = time.thread_time()
            run()
            times[key].append(time.thread_time() - begun)
    costs: dict[str, dict[int, dict[str, float]]] = {}
    for (stage_name, number, name), taken in times.items():
        costs.setdefault(stage_name, {}).setdefault(number, {})[name] = 1000 * float(np.median(taken))
    return {stage_name: _cost(list(films.values())) for stage_name, films in costs.items()}


def _cost(films: Sequence[dict[str, float]]) -> Cost:
    """Of one stage from what each way took on each film."""
    winners = [min(ways, key=lambda name: ways[name]) for ways in films]
    best = [ways[winner] for ways, winner in zip(films, winners, strict=True)]
    return Cost(float(np.mean([ways[OWN] for ways in films])), float(np.mean(best)), _counted(winners))


def _same(found: Any, expected: Any) -> bool:
    return isinstance(expected, np.ndarray) and found.shape == expected.shape and bool(np.array_equal(found, expected))


def _counted(winners: Sequence[str]) -> str:
    return ", ".join(f"{name} ({winners.count(name)} films)" for name in sorted(set(winners)))
