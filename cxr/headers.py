"""Size of a picture from the first bytes of its compressed stream, without decoding: bombs are refused here.

A DICOM header says Rows = 10 while its codestream says 30000: what will be allocated is what the codestream says.
"""

import struct
from dataclasses import dataclass

import numpy as np

from cxr.errors import FileTooLarge, TruncatedFile

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
J2K_MAGIC = b"\xff\x4f\xff\x51"  # SOC marker, then SIZ

# SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC); F7 is the frame of JPEG-LS.
FRAME_MARKERS = {code: f"SOF{code - 0xC0}" for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)} | {0xF7: "SOF55"}
SOI, EOI, SOS = 0xD8, 0xD9, 0xDA

# FF 00 is a stuffed byte and FF D0..D7 a restart inside a scan; JPEG-LS stuffs FF 00..7F. None of them opens a segment.
_OPENS = np.array([0xC0 <= code <= 0xCF or 0xD8 <= code <= 0xFE for code in range(256)])
_FIRST_LOOK, _LATER_LOOK = (
    256,
    65_536,
)  # bytes searched at once: segments of a header are near each other, the end of a scan is far
_MOST_SEGMENTS = 10_000
_MOST_CHUNKS, _MOST_TEXTS = 50_000, 8


@dataclass(frozen=True)
class Stream:
    """Geometry that a compressed stream declares. `bits` per sample, `scans` seen (JPEG), `tiles` (JPEG 2000)."""

    process: str
    width: int
    height: int
    components: int
    bits: int
    scans: int = 1
    tiles: int = 1


def png_header(data: bytes) -> Stream:
    """IHDR of a PNG (PNG specification, 11.2.1). `components` counts samples per pixel, a palette index as one.

    Every chunk's header is walked over: Pillow inflates each compressed text to a mebibyte and calls Python for each chunk.
    """
    if len(data) < 26 or data[12:16] != b"IHDR":
        raise TruncatedFile("a PNG without its header", "a complete PNG", "Export or upload the film again.")
    position, chunks, texts = len(PNG_MAGIC), 0, 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += length + 12
        chunks += 1
        texts += kind in (b"zTXt", b"iTXt")
        if chunks > _MOST_CHUNKS or texts > _MOST_TEXTS:
            found = f"a PNG of more than {_MOST_CHUNKS:,} chunks or {_MOST_TEXTS} compressed texts"
            raise FileTooLarge(found, "fewer", "Save it again without texts.")
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    return Stream("PNG", width, height, {2: 3, 4: 2, 6: 4}.get(colour, 1), bits)


def jpeg_header(data: bytes) -> Stream:
    """Frame header and number of scans of a JPEG or JPEG-LS stream (ITU-T T.81 B.2, T.87 C.1), up to the end-of-image marker."""
    frame: Stream | None = None
    scans = position = segments = 0
    while (position := _after_marker(data, position)) > 0:
        code = data[position - 1]
        segments += 1
        if segments > _MOST_SEGMENTS:
            raise TruncatedFile("a JPEG of endless segments", f"at most {_MOST_SEGMENTS} segments")
        if code == EOI:
            break
        if code == SOI or position + 2 > len(data):
            continue
        if code in FRAME_MARKERS:
            if frame is not None or position + 8 > len(data):
                raise TruncatedFile("a JPEG with a damaged or second frame header", "one complete JPEG")
            bits, height, width, components = struct.unpack_from(">BHHB", data, position + 2)
            frame = Stream(FRAME_MARKERS[code], width, height, components, bits)
        scans += code == SOS
        position += struct.unpack_from(">H", data, position)[0]
    if frame is None:
        raise TruncatedFile("a JPEG without a frame header", "one complete JPEG", "Export or upload the film again.")
    return Stream(frame.process, frame.width, frame.height, frame.components, frame.bits, scans)


def _after_marker(data: bytes, position: int) -> int:
    """Where the next marker from `position` on ends, 0 if there is none."""
    stream, size = np.frombuffer(data, np.uint8), _FIRST_LOOK
    while position + 1 < len(stream):
        here, after = stream[position : position + size], stream[position + 1 : position + size + 1]
        filled = np.flatnonzero(here[: len(after)] == 0xFF)
        opening = filled[_OPENS[after[filled]]]
        if len(opening):
            return position + int(opening[0]) + 2
        position, size = position + size, _LATER_LOOK
    return 0


def j2k_header(data: bytes) -> Stream:
    """SIZ segment of a raw JPEG 2000 codestream (ITU-T T.800 A.5.1); DICOM wraps no JP2 boxes around it (PS3.5 A.4.4)."""
    if not data.startswith(J2K_MAGIC) or len(data) < 45:
        raise TruncatedFile("JPEG 2000 data without its SIZ header", "a raw JPEG 2000 codestream")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = struct.unpack_from(">8IH", data, 8)
    precision, step_x, step_y = struct.unpack_from(">3B", data, 42)
    if not tile_width or not tile_height or (step_x, step_y) != (1, 1):
        raise TruncatedFile("a JPEG 2000 SIZ header with empty tiles or subsampled samples", "full-resolution samples")
    across, down = -(-(right - tile_left) // tile_width), -(-(bottom - tile_top) // tile_height)
    return Stream("J2K", right - left, bottom - top, components, (precision & 0x7F) + 1, tiles=across * down)
