"""One film of 256 gray levels in the encodings that hospitals send, each built when it is called."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.cxr.dicoms import dicom, jpeg

Encodings = dict[str, Callable[[], bytes]]


def lossless(gray: NDArray[np.uint8]) -> Encodings:
    """(H, W) → those that give every value back, up to a change of scale."""
    twelve = gray.astype(np.uint16) * 16
    return {
        "png": lambda: saved(Image.fromarray(gray)),
        "png 16 bit": lambda: saved(Image.fromarray(gray.astype(np.uint16) * 257)),
        "dicom": lambda: dicom(twelve, bits=12),
        "dicom implicit": lambda: dicom(twelve, ImplicitVRLittleEndian, 12),
        "dicom big endian": lambda: dicom(twelve, ExplicitVRBigEndian, 12),
        "dicom signed": lambda: dicom(twelve.astype(np.int16) - 2048, bits=12),
        "dicom monochrome1": lambda: dicom(4095 - twelve, bits=12, PhotometricInterpretation="MONOCHROME1"),
        "dicom rle": lambda: dicom(twelve, RLELossless, 12),
        "dicom jpeg lossless .57": lambda: dicom(twelve, JPEGLossless, 12),
        "dicom jpeg lossless .70": lambda: dicom(twelve, JPEGLosslessSV1, 12),
        "dicom jpeg-ls": lambda: dicom(twelve, JPEGLSLossless, 12),
        "dicom jpeg 2000": lambda: dicom(twelve, JPEG2000Lossless, 12),
    }


def lossy(gray: NDArray[np.uint8]) -> Encodings:
    """(H, W) → those that give nearly every value back."""
    return {
        "jpeg": lambda: jpeg(gray),
        "jpeg progressive": lambda: jpeg(gray, progressive=True),
        "dicom jpeg": lambda: dicom(gray, JPEGBaseline8Bit),
        "dicom jpeg extended": lambda: dicom(gray.astype(np.uint16) * 16, JPEGExtended12Bit, 12),
    }


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
