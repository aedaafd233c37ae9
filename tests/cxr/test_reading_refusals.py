"""What is not one readable film is refused by name, before it costs anything."""

import struct
import time
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxr.errors import FileTooLarge, FilmError, FilmTooSmall, NotGray, TruncatedFile, UnsupportedDicom, UnsupportedFormat
from cxr.reading import Limits, read, recognised
from tests.cxr.dicoms import dicom, encapsulated, jpeg, phantom

PHANTOM = phantom()
P12 = PHANTOM.astype(np.uint16) * 16


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + png_chunk(b"IEND", b"")
    )


def jpeg_of_size(width: int, height: int, code: int = 0xC0, bits: int = 8, scans: int = 1) -> bytes:
    frame = struct.pack(">HBHHB3B", 11, bits, height, width, 1, 1, 0x11, 0)
    scan = b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 0, 63, 0) + b"\x00"
    return b"\xff\xd8\xff" + bytes([code]) + frame + scan * scans + b"\xff\xd9"


def j2k_of_size(width: int, height: int, tile: int = 0) -> bytes:
    tile_width, tile_height = tile or width, tile or height
    size = struct.pack(">HH8IH3B", 41, 0, width, height, 0, 0, tile_width, tile_height, 0, 0, 1, 7, 1, 1)
    return b"\xff\x4f\xff\x51" + size + b"\xff\xd9"


def nested(depth: int) -> bytes:
    """A data set of sequences of undefined length, one within the other."""
    head = dicom(P12, bits=12)
    levels = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    return head[: head.index(b"\x08\x00\x60\x00")] + levels


NOT_IMAGES = {
    "nothing": b"",
    "one byte": b"\x89",
    "text": b"not an image at all\n" * 50,
    "html": b"<!DOCTYPE html><script>alert(1)</script>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\x03\x04" + bytes(200),
    "elf": b"\x7fELF" + bytes(200),
    "webp": saved(Image.fromarray(PHANTOM), "WEBP"),
    "bmp": saved(Image.fromarray(PHANTOM), "BMP"),
    "gif": saved(Image.fromarray(PHANTOM), "GIF"),
    "tiff, which only training reads": saved(Image.fromarray(PHANTOM), "TIFF"),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
}


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_content_of_another_kind_is_an_unsupported_format_whatever_it_is_called(name: str) -> None:
    with pytest.raises(UnsupportedFormat, match="DICOM, JPEG, PNG"):
        read(NOT_IMAGES[name])


def test_a_dicom_whose_preamble_pretends_to_be_a_tiff_is_a_dicom() -> None:
    data = b"II*\x00" + dicom(P12, bits=12)[4:]
    assert recognised(data) == "dicom"
    assert read(data).source == "dicom"


def test_the_limits_hold_for_bytes_pixels_and_sides() -> None:
    data = saved(Image.fromarray(PHANTOM))
    with pytest.raises(FileTooLarge, match="bytes"):
        read(data, Limits(max_bytes=len(data) - 1))
    with pytest.raises(FileTooLarge, match="96 × 80"):
        read(data, Limits(max_pixels=96 * 80 - 1))
    with pytest.raises(FilmTooSmall, match="96 × 80"):
        read(data, Limits(min_side=81))
    assert read(data, Limits(max_bytes=len(data), max_pixels=96 * 80, min_side=80)).bits == 8
    for small in (saved(Image.new("L", (1, 1))), jpeg(PHANTOM[:16, :16]), dicom(P12[:40])):
        with pytest.raises(FilmTooSmall):
            read(small)


BOMBS = {
    "png of 900 million pixels": lambda: png_bomb(30_000, 30_000),
    "png of 4 billion columns": lambda: png_bomb(2**31 - 1, 64),
    "jpeg of 4 billion pixels": lambda: jpeg_of_size(65_000, 65_000),
    "jpeg of 1000 scans": lambda: jpeg_of_size(2_000, 2_000, 0xC2, scans=1_000),
    "dicom of 4 billion pixels": lambda: dicom(P12, bits=12, Rows=65_535, Columns=65_535),
    "rle of 4 billion pixels": lambda: encapsulated(bytes(64), RLELossless, 65_535, 65_535),
    "rle run that never ends": lambda: encapsulated(
        struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 500_000, RLELossless, 80, 96
    ),
    "j2k of another size": lambda: encapsulated(j2k_of_size(20_000, 20_000), JPEG2000Lossless, 100, 100),
    "j2k of its own size": lambda: encapsulated(j2k_of_size(20_000, 20_000), JPEG2000Lossless, 20_000, 20_000),
    "j2k of a million tiles": lambda: encapsulated(j2k_of_size(1_024, 1_024, tile=1), JPEG2000Lossless, 1_024, 1_024),
    "dicom jpeg of another size": lambda: encapsulated(jpeg_of_size(30_000, 30_000), JPEGBaseline8Bit, 100, 100),
    "dicom jpeg of 1000 scans": lambda: encapsulated(jpeg_of_size(100, 100, 0xC2, scans=1_000), JPEGBaseline8Bit, 100, 100),
    "jpeg lossless of another size": lambda: encapsulated(jpeg_of_size(30_000, 30_000, 0xC3), JPEGLosslessSV1, 100, 100),
    "jpeg-ls of another size": lambda: encapsulated(jpeg_of_size(30_000, 30_000, 0xF7), JPEGLSLossless, 100, 100),
    "deflated zeros": lambda: dicom(np.zeros((5_000, 5_000), np.uint16), DeflatedExplicitVRLittleEndian),
    "sequences in sequences": lambda: nested(5_000),
    "a million elements": lambda: dicom(P12)[:132] + b"\x08\x00\x60\x00CS\x02\x00DX" * 100_000,
    "jpeg of a million segments": lambda: b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_its_header(name: str) -> None:
    data = BOMBS[name]()
    start = time.process_time()
    with pytest.raises(FilmError):
        read(data)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("build", [lambda: saved(Image.fromarray(PHANTOM)), lambda: jpeg(PHANTOM), lambda: dicom(P12, bits=12)])
def test_a_file_that_ends_early_is_named_truncated(build: Any) -> None:
    data = build()
    for share in (0.4, 0.6, 0.9):
        with pytest.raises(TruncatedFile):
            read(data[: int(len(data) * share)])


def test_modalities_other_than_radiography_are_refused_by_name() -> None:
    for modality in ("CT", "MR", "US", "MG", "OT", "SC", "XC", "RF", "SR"):
        with pytest.raises(UnsupportedDicom, match=f"modality {modality}; allowed: CR, DX, DR"):
            read(dicom(P12, bits=12, Modality=modality))
    for modality in ("CR", "DX", "DR"):
        assert read(dicom(P12, bits=12, Modality=modality)).modality == modality


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"Modality": None}, "no known modality"),
        ({"Modality": "SMITH JOHN"}, "no known modality"),
        ({"NumberOfFrames": "40"}, "40 frames"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"PixelData": None}, "pixel data"),
        ({"Rows": None}, "Rows"),
        ({"BitsAllocated": 32}, "32"),
        ({"BitsStored": 0}, "0 bits"),
        ({"RescaleSlope": "0"}, "rescale of 0"),
        ({"RescaleSlope": "1e300"}, "finite slope"),
        ({"RescaleIntercept": "nan"}, "finite slope"),
    ],
)
def test_a_dicom_that_is_no_gray_single_film_is_refused(tags: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedDicom, match=said) as refused:
        read(dicom(P12, bits=12, **tags))
    assert "SMITH" not in str(refused.value) and "SECRET" not in str(refused.value)


def test_pixel_data_of_another_length_is_refused_both_ways() -> None:
    for rows in (79, 81):
        with pytest.raises(TruncatedFile, match="bytes of pixel data"):
            read(dicom(P12, bits=12, Rows=rows))


def test_transfer_syntaxes_and_processes_that_are_not_read_are_named() -> None:
    with pytest.raises(UnsupportedDicom, match="MPEG2"):
        read(encapsulated(bytes(2), MPEG2MPML, 80, 96))
    with pytest.raises(UnsupportedDicom, match="Deflated"):
        read(BOMBS["deflated zeros"]())
    with pytest.raises(UnsupportedDicom, match="SOF1 with 12 bits"):
        read(encapsulated(jpeg_of_size(96, 80, 0xC1, 12), JPEGExtended12Bit, 80, 96, 16, BitsStored=12, HighBit=11))
    with pytest.raises(UnsupportedFormat, match="SOF3"):
        read(jpeg_of_size(96, 80, 0xC3))


def test_colour_is_refused_and_tinted_gray_is_not() -> None:
    hue = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(12, 0).repeat(12, 1)
    with pytest.raises(NotGray, match="strongly coloured"):
        read(saved(Image.fromarray(hue)))
    blue = np.stack([PHANTOM // 8 * 7, PHANTOM // 8 * 7, PHANTOM], axis=2)
    assert read(saved(Image.fromarray(blue))).transforms == ("rgb-to-gray",)
    arrow = np.stack([PHANTOM] * 3, axis=2)
    arrow[10:20, 10:40] = (255, 0, 0)
    assert read(saved(Image.fromarray(arrow))).photometric == "RGB"


def test_several_pictures_in_one_file_are_refused() -> None:
    frames = [Image.fromarray(PHANTOM), Image.fromarray(255 - PHANTOM)]
    for kind, formats in (("PNG", frozenset({"png"})), ("TIFF", frozenset({"tiff"}))):
        with pytest.raises(UnsupportedFormat, match="several pictures"):
            read(saved(frames[0], kind, save_all=True, append_images=frames[1:]), formats=formats)
