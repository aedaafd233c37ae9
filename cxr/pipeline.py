"""bytes → Film. The only image path of the house: the film store and the service call this one function.

Order, and why it matters:
1. photometric fix and rescale (`cxr.reading`): afterwards bright means dense, whatever the vendor stored;
2. robust percentiles → uint8 (`cxr.intensity`): before segmentation, because the U-Net has to see what it was trained on;
3. U-Net → cleaned mask → square box: on the whole film, squeezed;
4. crop of the ORIGINAL film, then one antialiased resize: cropping a reduced film would throw resolution away. "masked" blackens
   what is not lung before that, at the film's own resolution: masking the small crop would leave reduced neighbours in its border.
The output is uint8, so what training stores and what serving computes can be compared byte for byte.
Normalisation is not done here: it is inside the network's graph, where no spelling can switch it off.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from cxr.cropping import Box, crop, lung_box, lungs_only
from cxr.errors import FilmError
from cxr.gate import Gate
from cxr.intensity import to_gray8
from cxr.measures import Seen
from cxr.reading import SERVED, Limits, Radiograph, read
from cxr.segmentation import Segmenter, Verdict, clean, judge

REVISION = 1  # raise it when the same bytes give another film


class PipelineSpec(BaseModel):
    """Everything that decides how a film is prepared; it travels inside the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(256, ge=32, le=1024, description="side of the prepared film in pixels")
    low: float = Field(1.0, ge=0, lt=50, description="lower intensity percentile, mapped to 0")
    high: float = Field(99.0, gt=50, le=100, description="upper intensity percentile, mapped to 255")
    threshold: float = Field(0.5, gt=0, lt=1, description="lung probability that counts as lung")
    smallest: float = Field(0.02, ge=0, lt=0.5, description="objects and holes under this share of the mask are removed")
    margin: float = Field(0.05, ge=0, lt=1, description="added to the box's width and height, half on each side")
    crop: Literal["box", "masked"] = Field(
        "box", description="'box': all that is in the box (the paper); 'masked': the lungs alone, black around them"
    )
    revision: int = REVISION

    def digest(self) -> str:
        """SHA-256 of all fields. "box" does not count: films prepared before there was a choice keep their name."""
        unchanged = {"crop"} if self.crop == "box" else None
        return hashlib.sha256(self.model_dump_json(exclude=unchanged).encode()).hexdigest()


@dataclass(frozen=True)
class Film:
    """A prepared film: what the network sees, and how it came about.

    `pixels` uint8 (S, S); `gray` uint8 (H, W) is the whole film that they were cut from, and `box` in pixels of it; `coverage` is the
    share of it that the lungs take and `lungs` bool (256, 256) the cleaned mask of it, squeezed to a square; `digest` is the SHA-256
    of `pixels`; `steps` are the transformations the reader applied; `score` is the input gate's (1 = at the edge of the training
    films), None where none was asked; `quick` says that a quick look was enough to find the lungs.
    """

    pixels: NDArray[np.uint8]
    gray: NDArray[np.uint8]
    box: Box
    verdict: Verdict
    coverage: float
    lungs: NDArray[np.bool_]
    source: str
    steps: tuple[str, ...]
    digest: str
    score: float | None = None
    quick: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the whole film."""
        height, width = self.gray.shape
        return height, width


class Looked(NamedTuple):
    """What a segmenter sees on a film, and the gate's score of that."""

    seen: Seen
    score: float | None


# Gray film and gate → what a segmenter in a lower precision sees; None where float32 has to look (`cxr.close_calls`).
QuickLook = Callable[[NDArray[np.uint8], Gate | None], Looked | None]


class LungsNotFound(FilmError):
    """The segmentation saw no lungs. A verdict, not a fallback: the whole picture is never used instead."""

    code = "no-lungs"
    title = "No lungs found"

    def __init__(self, coverage: float, smallest: float) -> None:
        self.verdict = Verdict.NO_LUNGS
        self.coverage = coverage
        super().__init__(
            f"a lung mask covering {coverage:.1%} of the film",
            f"at least one lung of {smallest:.0%} of the film",
            "Send a frontal chest film (PA or AP), upright, not inverted.",
        )


def prepare(
    data: bytes,
    spec: PipelineSpec,
    segmenter: Segmenter,
    limits: Limits | None = None,
    formats: frozenset[str] = SERVED,
    gate: Gate | None = None,
    quick: QuickLook | None = None,
) -> Film:
    """File content → Film. Raises a FilmError that names what was found; LungsNotFound when there is nothing to crop to,
    NotFrontalChest where a gate is given and does not take the film. Training has none: its cohorts are chosen by people."""
    return prepare_radiograph(read(data, limits or Limits(), formats), spec, segmenter, gate, quick)


def look(gray: NDArray[np.uint8], spec: PipelineSpec, segmenter: Segmenter) -> Seen:
    """Gray film → what the segmenter sees on it, cleaned."""
    probability = segmenter.probability(gray)
    return Seen(gray, probability, clean(probability >= spec.threshold, spec.smallest))


def prepare_radiograph(
    radiograph: Radiograph,
    spec: PipelineSpec,
    segmenter: Segmenter,
    gate: Gate | None = None,
    quick: QuickLook | None = None,
) -> Film:
    """The same from a film already read. Where a `quick` look does not settle where the lungs are, the segmenter does."""
    if gate is not None:
        gate.check_tags(radiograph)
    gray = to_gray8(radiograph.pixels, spec.low, spec.high)
    looked = settled = quick(gray, gate) if quick is not None else None
    if looked is None:
        seen = look(gray, spec, segmenter)
        looked = Looked(seen, None if gate is None else gate.check(seen, lambda picture: look(picture, spec, segmenter)))
    lungs = looked.seen.lungs
    verdict = judge(lungs)
    if verdict is Verdict.NO_LUNGS:
        raise LungsNotFound(float((looked.seen.probability >= spec.threshold).mean()), spec.smallest)
    box = lung_box(lungs, (gray.shape[0], gray.shape[1]), spec.margin)
    pixels = crop(lungs_only(gray, lungs) if spec.crop == "masked" else gray, box, spec.size)
    return Film(
        pixels=pixels,
        gray=gray,
        box=box,
        verdict=verdict,
        coverage=float(lungs.mean()),
        lungs=lungs,
        source=radiograph.source,
        steps=radiograph.transforms,
        digest=hashlib.sha256(pixels.tobytes()).hexdigest(),
        score=looked.score,
        quick=settled is not None,
    )
