"""Three films as they are sent: JPEG of 1024², PNG of 2048², DICOM of 2000² with 16 bits; drawn from a seed, of nobody."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.cxr.dicoms import dicom

KINDS = ("jpeg", "png", "dicom")
SIDES = {"jpeg": 1024, "png": 2048, "dicom": 2000}
TYPES = {"jpeg": "image/jpeg", "png": "image/png", "dicom": "application/dicom"}


def film(kind: str, seed: int = 0, side: int | None = None) -> bytes:
    """Content of one file, `side` pixels wide (default: SIDES)."""
    drawn = _drawn(side or SIDES[kind], seed)
    if kind == "dicom":
        return dicom((drawn * 4095).astype(np.uint16), bits=12)
    out = io.BytesIO()
    Image.fromarray((drawn * 255).astype(np.uint8)).save(out, kind, **({"quality": 90} if kind == "jpeg" else {}))
    return out.getvalue()


def _drawn(size: int, seed: int) -> NDArray[np.float64]:
    """Two dark lungs on a bright ground, with soft structure and as much noise as gives files of the usual size; in 0..1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    cloud = Image.fromarray(rng.normal(0, 1, (24, 24)).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    picture = 0.75 + 0.04 * np.asarray(cloud) + rng.normal(0, 0.006, (size, size))
    for centre in (0.31, 0.69):
        distance = np.sqrt(((x - centre) / 0.15) ** 2 + ((y - 0.48) / 0.33) ** 2)
        picture -= 0.5 / (1 + np.exp(25 * (distance - 1)))
    return np.clip(picture, 0, 1)
