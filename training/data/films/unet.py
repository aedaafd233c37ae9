"""Which engine computes the lung U-Net here: the fastest whose masks are those of float32 on OpenVINO, measured on films.

Serving and training must give the same film for the same bytes, so "the same" is strict: every cleaned mask of the sample equal to the
last pixel (IoU 1). Engines that pass may share a store, and each entry names the one that it was made by. Reduced precision is measured
like the others; on a U-Net whose borders it moves by a pixel it does not pass, however fast it is.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import NamedTuple, get_args

from cxr import durable
from cxr.close_calls import iou
from cxr.errors import FilmError
from cxr.graphs import PRECISIONS, EngineName, Way, installed
from cxr.host import instructions, processor
from cxr.intensity import to_gray8
from cxr.pipeline import PipelineSpec
from cxr.reading import TRAINING, Limits, read
from cxr.segmentation import OnnxSegmenter, clean

SAMPLE = 32  # films


REFERENCE = Way("openvino", "float32")  # what the image of the service computes with


class Measured(NamedTuple):
    """One way on the sample. `iou` is the lowest of its cleaned masks with those of REFERENCE, `milliseconds` own CPU per film."""

    way: Way
    films: int
    equal: int
    iou: float
    milliseconds: float


def ways() -> tuple[Way, ...]:
    """What can be tried here. Not int8: that is another graph."""
    found = [Way(engine, precision) for engine in installed() for precision in PRECISIONS[engine] if precision != "int8"]
    return (REFERENCE, *(way for way in found if way != REFERENCE))


def measure(graph: Path, spec: PipelineSpec, images: Iterable[Path]) -> list[Measured]:
    """Each way on the readable ones of `images`, taken in turns on one thread."""
    segmenters = {way: OnnxSegmenter.from_file(graph, 1, *way) for way in ways()}
    seconds: dict[Way, list[float]] = {way: [] for way in segmenters}
    overlaps: dict[Way, list[float]] = {way: [] for way in segmenters}
    for image in images:
        try:
            gray = to_gray8(read(image.read_bytes(), Limits(), TRAINING).pixels, spec.low, spec.high)
        except FilmError:
            continue
        masks = {}
        for way, segmenter in segmenters.items():
            begun = time.thread_time()
            probability = segmenter.probability(gray)
            seconds[way].append(time.thread_time() - begun)
            masks[way] = clean(probability >= spec.threshold, spec.smallest)
        for way, mask in masks.items():
            overlaps[way].append(iou(mask, masks[REFERENCE]))
    return [
        Measured(way, len(found), sum(one == 1 for one in found), min(found), 1000 * median(seconds[way]))
        for way, found in overlaps.items() if found
    ]  # fmt: skip


def fastest(measured: Iterable[Measured]) -> Way:
    """The fastest that kept every mask; REFERENCE when nothing was measured."""
    passed = [one for one in measured if one.equal == one.films]
    return min(passed, key=lambda one: one.milliseconds).way if passed else REFERENCE


def known(root: Path, graph_digest: str, spec: PipelineSpec) -> list[Measured] | None:
    """What was measured before with this U-Net on this kind of machine, or None."""
    try:
        rows = json.loads(_record(root, graph_digest, spec).read_bytes())
    except FileNotFoundError:
        return None
    return [Measured(Way(*row[0]), *row[1:]) for row in rows]


def remember(root: Path, graph_digest: str, spec: PipelineSpec, measured: Sequence[Measured]) -> None:
    durable.write(_record(root, graph_digest, spec), json.dumps(measured).encode())


def _record(root: Path, graph_digest: str, spec: PipelineSpec) -> Path:
    versions = [f"{name} {metadata.version(name)}" for name in get_args(EngineName) if name in installed()]
    machine = [processor(), *instructions()]  # both decide what is fast, and how it rounds
    deciding = [graph_digest, spec.low, spec.high, spec.threshold, spec.smallest, *machine, *versions]
    return root / f"engines-{hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:12]}.json"
