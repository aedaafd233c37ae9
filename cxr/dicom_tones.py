"""Stored DICOM values → values to look at: modality LUT, VOI LUT or window, photometric interpretation, padding.

Order of PS3.3 C.11 and PS3.4 N.2. Every step that ran is named in the result.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cxr.errors import UnsupportedDicom
from cxr.radiograph import Samples

LEAST_INSIDE = 0.25  # share of the film that a window must show
LARGEST = 1e12  # of a tag's number: beyond it float32 and int64 overflow


def displayed(stored: NDArray[np.integer[Any]], dataset: Dataset) -> tuple[Samples, tuple[str, ...]]:
    """(H, W) stored values → (H, W) float32, larger = brighter, and the names of the steps; unsigned values stay as they are where no
    step changes them.

    The first VOI LUT (or else the first window) is applied although percentiles normalise later: a direct-exposure background far
    above the tissue would otherwise own the upper percentile, a tone curve (LUT, SIGMOID) cannot be restored by any linear
    stretch, and the PNG and JPEG films of the public data sets were exported as displayed. Of a linear window only the clipping
    is done: its stretch would be undone by the percentiles and cost the exact equality of lossless encodings. A window that
    shows less than a quarter of the film was written for other values (another vendor's rescale) and is not applied:
    "voi-window-ignored". MONOCHROME1 is mirrored within its own range. Padding becomes as dark as the darkest pixel of the film.
    """
    padding = _padding(stored, dataset)
    pixels, steps = _modality(stored, dataset)
    pixels, voi = _voi(pixels, dataset)
    steps += voi
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = pixels.astype(np.float32, copy=False)
        pixels = pixels.max() + pixels.min() - pixels
        steps.append("monochrome1-inverted")
    if padding is not None and padding.any() and not padding.all():
        pixels = np.where(padding, pixels[~padding].min(), pixels)
        steps.append("padding-to-black")
    return pixels, tuple(steps)


def _modality(stored: NDArray[np.integer[Any]], dataset: Dataset) -> tuple[Samples, list[str]]:
    if tables := dataset.get("ModalityLUTSequence"):
        return _looked_up(stored, tables[0], dataset, dataset.PixelRepresentation == 1), ["modality-lut"]
    slope, intercept = _rescale(dataset)
    if not 0 < abs(slope) < LARGEST or not abs(intercept) < LARGEST:
        raise UnsupportedDicom(f"a rescale of {slope:g} × value + {intercept:g}", "a finite slope, not 0", "Export it again.")
    if (slope, intercept) == (1, 0):
        return stored if stored.dtype.kind == "u" else stored.astype(np.float32), []
    return (stored * slope + intercept).astype(np.float32), ["rescale"]


def _rescale(dataset: Dataset) -> tuple[float, float]:
    return float(_first(dataset, "RescaleSlope", 1)), float(_first(dataset, "RescaleIntercept", 0))


def _may_be_negative(dataset: Dataset) -> bool:
    """Whether the values behind the modality step are signed (PS3.3 C.11.2.1.1): those of a table never are, rescaled ones are where a
    stored value of so many bits can become negative."""
    if dataset.get("ModalityLUTSequence"):
        return False
    slope, intercept = _rescale(dataset)
    lowest = -(1 << dataset.BitsStored - 1) if dataset.PixelRepresentation == 1 else 0
    ends = (lowest, lowest + (1 << dataset.BitsStored) - 1)
    return min(slope * end + intercept for end in ends) < 0


def _voi(pixels: Samples, dataset: Dataset) -> tuple[Samples, list[str]]:
    if tables := dataset.get("VOILUTSequence"):
        return _looked_up(np.rint(pixels).astype(np.int64), tables[0], dataset, _may_be_negative(dataset)), ["voi-lut"]
    center, width = _first(dataset, "WindowCenter", None), _first(dataset, "WindowWidth", None)
    if center is None or width is None:
        return pixels, []
    middle, width = float(center), float(width)
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip()
    if function == "LINEAR":  # PS3.3 C.11.2.1.2.1: the window reaches from one integer to another
        middle, width = middle - 0.5, width - 1
    if not (0 < width < LARGEST and abs(middle) < LARGEST):
        return pixels, ["voi-window-ignored"]
    low, high = np.float32(middle - width / 2), np.float32(middle + width / 2)
    if np.mean((pixels >= low) & (pixels <= high)) < LEAST_INSIDE:
        return pixels, ["voi-window-ignored"]
    if function == "SIGMOID":  # PS3.3 C.11.2.1.3.1
        curve = 1 / (1 + np.exp(np.clip(-4 * (pixels.astype(np.float32) - middle) / width, -80, 80)))
        return curve.astype(np.float32), ["voi-sigmoid"]
    return np.clip(pixels, low, high), ["voi-window"]


def _looked_up(values: NDArray[Any], table: Dataset, dataset: Dataset, signed: bool) -> NDArray[np.float32]:
    """Values, `signed` or not, through one LUT item (PS3.3 C.11.1.1.1): values before the first mapped one take the first entry, after the
    last the last. pydicom's own function wraps indices beyond 255 in a table of 8-bit entries."""
    entries, first, _ = (int(part) for part in table.LUTDescriptor)
    entries = entries or 65536
    if dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian:
        first %= 65536  # pydicom has guessed its sign from the stored values
    if signed and first > 32767:
        first -= 65536  # "US or SS": written unsigned, meant signed
    data = table.LUTData
    if isinstance(data, bytes):
        wide = ">u2" if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<u2"
        data = np.frombuffer(data, dtype=np.uint8 if len(data) < 2 * entries else wide)
    lut = np.atleast_1d(np.asarray(data, dtype=np.float32))[:entries]
    if lut.size != entries:
        raise UnsupportedDicom(f"a lookup table of {lut.size} entries", f"{entries}, as its descriptor says", "Export it again.")
    looked_up: NDArray[np.float32] = lut[np.clip(values.astype(np.int64) - first, 0, entries - 1)]
    return looked_up


def _first(dataset: Dataset, keyword: str, otherwise: float | None) -> Any:
    """First value of a tag that may hold several alternatives, `otherwise` where it is absent or empty."""
    value = dataset.get(keyword)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    return otherwise if value is None or value == "" else value


def _padding(stored: NDArray[np.integer[Any]], dataset: Dataset) -> NDArray[np.bool_] | None:
    """Pixels outside the detector (PS3.3 C.7.5.1.1.2): the padding value, or the range up to its limit."""
    if not isinstance(dataset.get("PixelPaddingValue"), int):
        return None
    value = int(dataset.PixelPaddingValue)
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [value, int(limit) if isinstance(limit, int) else value]
    if dataset.PixelRepresentation == 1:
        ends = [end - 65536 if end > 32767 else end for end in ends]
    inside: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
    return inside
