"""Seeded damage to one film in every encoding that is read: the files that an upload service has to survive."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.cxr.dicoms import dicom, jpeg
from tests.serving.tiny_bundle import encoded, film

SMALL = film(seed=4, size=80)
P12 = SMALL.astype(np.uint16) * 16
ENCODINGS: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded(SMALL),
    "png 16 bit": lambda: encoded(P12),
    "jpeg": lambda: jpeg(SMALL),
    "jpeg progressive": lambda: jpeg(SMALL, progressive=True),
    "dicom": lambda: dicom(P12, bits=12),
    "dicom implicit": lambda: dicom(P12, ImplicitVRLittleEndian, 12),
    "dicom big endian": lambda: dicom(P12, ExplicitVRBigEndian, 12),
    "dicom signed": lambda: dicom((P12.astype(np.int32) - 2048).astype(np.int16), bits=12),
    "dicom monochrome1": lambda: dicom(4095 - P12, bits=12, PhotometricInterpretation="MONOCHROME1"),
    "dicom rle": lambda: dicom(P12, RLELossless, 12),
    "dicom jpeg": lambda: dicom(SMALL, JPEGBaseline8Bit),
    "dicom jpeg lossless .57": lambda: dicom(P12, JPEGLossless, 12),
    "dicom jpeg lossless .70": lambda: dicom(P12, JPEGLosslessSV1, 12),
    "dicom jpeg-ls": lambda: dicom(P12, JPEGLSLossless, 12),
    "dicom jpeg 2000": lambda: dicom(P12, JPEG2000Lossless, 12),
}
CRASHERS = Path(__file__).parent.parent / "crashers"
HEAD = 900  # bytes: tags, tables and chunk headers, where most mutants still look like an image


def mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with bytes overwritten (in its head, at its codestream or anywhere), removed, repeated or cut off."""
    damaged = bytearray(data)
    kind = rng.integers(6)
    if kind == 0:
        return bytes(damaged[: rng.integers(len(data))])
    if kind == 1:
        start = rng.integers(len(data))
        del damaged[start : start + rng.integers(1, 60)]
    if kind == 2:
        start = rng.integers(len(data))
        damaged[start:start] = damaged[start : start + rng.integers(1, 200)]
    low, high = (0, HEAD) if kind == 3 else (_codestream(data), len(damaged)) if kind == 4 else (0, len(damaged))
    for _ in range(rng.integers(1, 7)):
        place = int(rng.integers(low, max(low + 1, min(high, len(damaged)))))
        damaged[min(place, len(damaged) - 1)] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
    return bytes(damaged)


def _codestream(data: bytes) -> int:
    """Where the decoder's own work begins: at a table, a scan or a chunk of pixels."""
    found = [place for mark in (b"\xff\xc4", b"\xff\xda", b"\xff\x52", b"IDAT") if (place := data.find(mark)) > 0]
    return min(found, default=0)
