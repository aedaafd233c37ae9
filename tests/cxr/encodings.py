"""One film of 256 gray levels in the encodings that hospitals send, each built when it is called."""

import struct
import zlib
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

from cxr.headers import PNG_MAGIC
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


def raw_png(samples: NDArray[Any], bits: int, colour: int, transparent: bytes) -> bytes:
    """(H, W, C) samples of so many bits → a PNG of that colour type with a tRNS chunk, which Pillow would not write."""
    height, width, _ = samples.shape
    wide = samples.astype(">u2").view(np.uint8).reshape(height, -1, 2)
    rows = np.packbits(np.unpackbits(wide, axis=2)[:, :, 16 - bits :].reshape(height, -1), axis=1)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0),
        b"tRNS": transparent,
        b"IDAT": zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)),
        b"IEND": b"",
    }
    return PNG_MAGIC + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks.items()
    )


def colour_tiff(samples: NDArray[np.uint16], separate: bool) -> bytes:
    """(H, W, 3) → an uncompressed TIFF of 16-bit RGB, its samples pixel by pixel or plane by plane, which Pillow would not write."""
    height, width, _ = samples.shape
    data = (np.moveaxis(samples, 2, 0) if separate else samples).astype("<u2").tobytes()
    parts, tags = 3 if separate else 1, 10
    depths = 8 + 2 + 12 * tags + 4  # where what takes more than 4 bytes begins: three depths, offsets and lengths of the planes
    offsets, lengths = depths + 6, depths + 6 + 4 * parts
    first, size = lengths + 4 * parts, len(data) // parts
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, depths), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, parts, offsets if separate else first), (277, 3, 1, 3), (278, 3, 1, height),
        (279, 4, parts, lengths if separate else size), (284, 3, 1, 2 if separate else 1),
    ]  # fmt: skip
    out = b"II*\0" + struct.pack("<IH", 8, tags) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    out += struct.pack("<3H", 16, 16, 16)
    out += struct.pack(f"<{2 * parts}I", *(first + i * size for i in range(parts)), *[size] * parts)
    return out + data
