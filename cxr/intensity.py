"""Radiograph values → 8-bit gray: the one intensity normalisation, for training and serving alike.

The whole path of a pixel value, in this order:

1. Stored value: BitsStored, HighBit and sign are honoured; 16-bit PNG stays 16 bits (`cxr.raster`, `cxr.dicom_pixels`).
2. Modality: rescale slope and intercept, or modality LUT (`cxr.dicom_tones`), so that 3 is true: windows are given in its units.
3. Display: the first VOI LUT or window, because that is what PNG and JPEG exports of other films already contain.
4. Photometric: MONOCHROME1 is mirrored, so that larger = brighter everywhere.
5. Here: clip to robust percentiles, stretch to 0..255, round to uint8.

Percentiles, not the extremes: one burnt-in letter or one dead detector element decides a minimum or maximum. They are order
statistics, not interpolated, so that every affine encoding of one film (8 or 16 bits, rescaled, signed, inverted) gives the same
bytes. uint8, so that a cache on the disk holds exactly what the network sees. No border is searched for: DICOM padding is turned
to the darkest value on reading, and a black border of more than one percent only fixes black at the border's own value.

The authors' code reads DICOM values raw (no rescale, no window, no BitsStored), then reshapes H×W×3 to 3×H×W instead of
transposing it, so that no network ever saw an intact lung, and skips its ImageNet normalisation where the option is spelled
"ImageNet" rather than "Imagenet" (two of three configurations). It clips to the 2nd and 98th percentile; we keep one percent more
at each end, where catheters and pleural edges are.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.errors import NoContrast
from cxr.radiograph import Samples

SAMPLE = 262_144  # pixels that the percentiles of a larger film are taken from: error of a rank below 0.1 % of the film
BLOCK = 65_536  # pixels normalised at a time


def to_gray8(pixels: Samples, low: float = 1.0, high: float = 99.0) -> NDArray[np.uint8]:
    """(H, W) finite values of any scale → (H, W) uint8, percentile `low` → 0, percentile `high` → 255.

    0 <= low < high <= 100. Increasing affine changes of `pixels` do not change the result (beyond float32 rounding; not at all
    for integers below 2^24), and whole numbers give the same bytes as integers and as float32. Larger films are sampled on a regular
    grid, so the same film always gives the same bytes. Raises NoContrast if the two percentiles are equal.
    """
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles low={low}, high={high}: need 0 <= low < high <= 100")
    black, white = _order_statistics(pixels, low, high)
    if not white > black:
        raise NoContrast(
            f"the same value at percentiles {low:g} and {high:g}", "a film with black and white", "Check the export of this film."
        )
    if pixels.dtype == np.float32:
        gray = np.empty(pixels.shape, dtype=np.uint8)
        for part in _blocks(pixels):
            gray[part] = _stretched(pixels[part], black, white)
        return gray
    table = _stretched(np.arange(np.iinfo(pixels.dtype).max + 1, dtype=np.float32), black, white)
    if (
        pixels.dtype == np.uint8
    ):  # faster than numpy's own indexing and than bytes.translate, which would not let other threads work
        return np.asarray(Image.fromarray(pixels).point(table.tolist()))
    gray = np.empty(pixels.shape, dtype=np.uint8)
    for part in _blocks(pixels):
        np.take(table, pixels[part], out=gray[part], mode="clip")  # nothing is clipped: this mode needs no second buffer
    return gray


def _blocks(pixels: Samples) -> Iterator[slice]:
    """Rows that stay in the processor's cache: twice as fast on a large film."""
    rows = max(1, BLOCK // pixels.shape[1])
    return (slice(top, top + rows) for top in range(0, pixels.shape[0], rows))


def _stretched(values: NDArray[np.float32], black: np.float32, white: np.float32) -> NDArray[np.uint8]:
    """Values of any shape → 0..255 between `black` and `white`."""
    # A quotient of exact differences, then ×255: a reciprocal factor would round differently for 8 and 16 bits.
    values = np.clip(values, black, white)
    values -= black
    values /= white - black
    values *= np.float32(255)
    return np.rint(values, out=values).astype(np.uint8)


def _order_statistics(pixels: Samples, low: float, high: float) -> tuple[np.float32, np.float32]:
    """Values at the percentiles `low` (rank rounded down) and `high` (rank rounded up) of a grid of about SAMPLE pixels."""
    step = max(1, math.isqrt(pixels.size // SAMPLE))
    sample = pixels[::step, ::step].ravel()
    first, last = math.floor((sample.size - 1) * low / 100), math.ceil((sample.size - 1) * high / 100)
    codes = _whole(sample)
    if codes is None:
        ordered = np.partition(sample, (first, last))
        return ordered[first], ordered[last]
    below = np.cumsum(np.bincount(codes))  # counting is faster than sorting
    found = np.searchsorted(below, (first, last), side="right")
    return np.float32(found[0]), np.float32(found[1])


def _whole(sample: Samples) -> Samples | None:
    """The sample as integers from 0 to 65535; None where it has other values."""
    if sample.dtype != np.float32:
        return sample
    if sample.min() >= 0 and sample.max() < 2**16 and np.array_equal(codes := sample.astype(np.uint16), sample):
        return codes
    return None
