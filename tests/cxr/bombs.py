"""Small files that ask for gigabytes or minutes, one per way that is known to have worked on somebody; and what refusing one costs."""

import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxr.errors import FilmError
from cxr.reading import read
from tests.cxr.dicoms import dicom, encapsulated, phantom

P12 = phantom().astype(np.uint16) * 16
MIB = 1024 * 1024


class Cost(NamedTuple):
    """Of refusing a file: the error's code, CPU seconds of this process (the best of three), MiB of peak memory it grew by."""

    code: str
    seconds: float
    mebibytes: float


def cost(data: bytes) -> Cost:
    """Raises AssertionError for a file that is read."""
    runs = [_refused(data) for _ in range(3)]
    return Cost(runs[0].code, min(run.seconds for run in runs), max(run.mebibytes for run in runs))


def _refused(data: bytes) -> Cost:
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, start = peak_kib(), time.process_time()
    try:
        read(data)
    except FilmError as error:
        return Cost(error.code, time.process_time() - start, (peak_kib() - before) / 1024)
    raise AssertionError("the bomb was read")


def peak_kib() -> int:
    """Largest resident memory since the peak was reset, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_size(width: int, height: int, colour: int = 6, before: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + before + pixels + png_chunk(b"IEND", b"")


def compressed_text(mebibytes: int, kind: bytes = b"zTXt") -> bytes:
    body = zlib.compress(bytes(mebibytes * MIB))
    return png_chunk(kind, b"text\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + body)


def jpeg_of_size(width: int, height: int, code: int = 0xC0, bits: int = 8, scans: int = 1) -> bytes:
    frame = struct.pack(">HBHHB3B", 11, bits, height, width, 1, 1, 0x11, 0)
    scan = b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 0, 63, 0) + b"\x00"
    return b"\xff\xd8\xff" + bytes([code]) + frame + scan * scans + b"\xff\xd9"


def j2k_of_size(width: int, height: int, tile: int = 0) -> bytes:
    tile_width, tile_height = tile or width, tile or height
    size = struct.pack(">HH8IH3B", 41, 0, width, height, 0, 0, tile_width, tile_height, 0, 0, 1, 7, 1, 1)
    return b"\xff\x4f\xff\x51" + size + b"\xff\xd9"


def deflated(mebibytes: int) -> bytes:
    """A deflated data set that inflates to so much."""
    whole = dicom(P12, DeflatedExplicitVRLittleEndian, 12)
    meta = 132 + 12 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", mebibytes * MIB)
    body = packer.compress(head) + b"".join(packer.compress(bytes(MIB)) for _ in range(mebibytes)) + packer.flush()
    return whole[:meta] + body


def nested(depth: int) -> bytes:
    """A data set of sequences of undefined length, one within the other."""
    head = dicom(P12, bits=12)
    levels = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    return head[: head.index(b"\x08\x00\x60\x00")] + levels


# M14 to M21 are the rows of the measurements that showed each of them at work on an unguarded decoder.
BOMBS: dict[str, Callable[[], bytes]] = {
    "M14: a deflated data set of 64 MiB": lambda: deflated(64),
    "M15: J2K of 400 Mpx in its own header": lambda: encapsulated(j2k_of_size(20_000, 20_000), JPEG2000Lossless, 20_000, 20_000),
    "M15: J2K of 400 Mpx behind a header of 10 × 10": lambda: encapsulated(j2k_of_size(20_000, 20_000), JPEG2000Lossless, 10, 10),
    "M15: J2K of 400 Mpx behind a header of 100 × 100": lambda: encapsulated(
        j2k_of_size(20_000, 20_000), JPEG2000Lossless, 100, 100
    ),
    "M16: JPEG of 900 Mpx behind a header of 100 × 100": lambda: encapsulated(
        jpeg_of_size(30_000, 30_000) + bytes(10 * MIB), JPEGBaseline8Bit, 100, 100
    ),
    "M17: RLE of 65535 × 65535": lambda: encapsulated(bytes(64), RLELossless, 65_535, 65_535),
    "M17: RLE of 100,000 frames": lambda: encapsulated(bytes(64), RLELossless, 80, 96, NumberOfFrames="100000"),
    "M18: sequences 200 deep": lambda: nested(200),
    "M18: sequences 5,000 deep": lambda: nested(5_000),
    "M20: PNG of 177 Mpx": lambda: png_of_size(13_300, 13_300),
    "M20: PNG of 4 billion columns": lambda: png_of_size(2**31 - 1, 64),
    "M21: progressive JPEG of 1,000 scans": lambda: jpeg_of_size(6_000, 6_000, 0xC2, scans=1_000),
    "M21: the same in a DICOM": lambda: encapsulated(
        jpeg_of_size(6_000, 6_000, 0xC2, scans=1_000), JPEGBaseline8Bit, 6_000, 6_000
    ),
    "PNG with a text of 64 MiB": lambda: png_of_size(80, 80, before=compressed_text(64)),
    "PNG with 60 texts of a mebibyte": lambda: png_of_size(80, 80, before=compressed_text(1) * 60),
    "PNG with 60 international texts": lambda: png_of_size(80, 80, before=compressed_text(1, b"iTXt") * 60),
    "PNG with a colour profile of 64 MiB": lambda: png_of_size(80, 80, before=compressed_text(64, b"iCCP")),
    "PNG of a million chunks": lambda: png_of_size(80, 80, before=png_chunk(b"teXt", b"") * 1_000_000),
    "JPEG of 4 billion pixels": lambda: jpeg_of_size(65_000, 65_000),
    "JPEG of a million segments": lambda: b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1_000_000,
    "DICOM of 4 billion pixels": lambda: dicom(P12, bits=12, Rows=65_535, Columns=65_535),
    "DICOM of a million elements": lambda: dicom(P12)[:132] + b"\x08\x00\x60\x00CS\x02\x00DX" * 100_000,
    "RLE of one run without end": lambda: encapsulated(
        struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 500_000, RLELossless, 80, 96
    ),
    "J2K of a million tiles": lambda: encapsulated(j2k_of_size(1_024, 1_024, tile=1), JPEG2000Lossless, 1_024, 1_024),
    "JPEG Lossless of another size": lambda: encapsulated(jpeg_of_size(30_000, 30_000, 0xC3), JPEGLosslessSV1, 100, 100),
    "JPEG-LS of another size": lambda: encapsulated(jpeg_of_size(30_000, 30_000, 0xF7), JPEGLSLossless, 100, 100),
}
