"""What is not one readable film is refused by name, before it costs anything."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import MPEG2MPML, JPEGBaseline8Bit, JPEGExtended12Bit

from cxr.errors import EmptyFile, FileTooLarge, FilmTooSmall, NotGray, TruncatedFile, UnsupportedDicom, UnsupportedFormat
from cxr.reading import TRAINING, Limits, read, recognised
from tests.cxr.bombs import deflated, jpeg_of_size
from tests.cxr.dicoms import dicom, encapsulated, jpeg, phantom
from tests.cxr.encodings import colour_tiff, raw_png, saved

PHANTOM = phantom()
P12 = PHANTOM.astype(np.uint16) * 16


NOT_IMAGES = {
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


def test_nothing_at_all_is_an_empty_file() -> None:
    with pytest.raises(EmptyFile, match="no bytes; allowed: the content of a file: DICOM, JPEG, PNG"):
        read(b"")


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
    for strip in (np.resize(PHANTOM, (64, 257)), np.resize(PHANTOM, (257, 64))):
        for encode in (lambda p: saved(Image.fromarray(p)), jpeg):
            with pytest.raises(FilmTooSmall, match=r"a strip of .* at most 4 times the other"):
                read(encode(strip))
            with pytest.raises(FilmTooSmall, match="a strip"):
                read(encode(strip), Limits(files_per_decoder=1))
        assert read(saved(Image.fromarray(strip)), Limits(max_ratio=4.1, files_per_decoder=1)).pixels.shape == strip.shape
    for small in (saved(Image.new("L", (1, 1))), jpeg(PHANTOM[:16, :16]), dicom(P12[:40])):
        with pytest.raises(FilmTooSmall):
            read(small)


@pytest.mark.parametrize("build", [lambda: saved(Image.fromarray(PHANTOM)), lambda: jpeg(PHANTOM), lambda: dicom(P12, bits=12)])
def test_a_file_that_ends_early_is_named_truncated(build: Any) -> None:
    data = build()
    for share in (0.4, 0.6, 0.9):
        with pytest.raises(TruncatedFile):
            read(data[: int(len(data) * share)])


def test_modalities_other_than_radiography_are_refused_by_name() -> None:
    for modality in ("CT", "MR", "US", "MG", "OT", "SC", "XC", "RF", "SR"):
        with pytest.raises(UnsupportedDicom, match=f"modality {modality}; allowed: CR, DX, DR, RG"):
            read(dicom(P12, bits=12, Modality=modality))
    for modality in ("CR", "DX", "DR", "RG"):
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
        read(deflated(1))
    for code, bits, syntax in ((0xC2, 12, JPEGExtended12Bit), (0xC1, 10, JPEGExtended12Bit), (0xC1, 12, JPEGBaseline8Bit)):
        with pytest.raises(UnsupportedDicom, match=f"with {bits} bits"):
            read(encapsulated(jpeg_of_size(96, 80, code, bits), syntax, 80, 96, 16, BitsStored=12, HighBit=11))
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


def test_colour_of_sixteen_bits_that_would_be_misread_is_refused_by_name() -> None:
    colour = np.stack([PHANTOM.astype(np.uint16) * 257] * 3, axis=2)
    with pytest.raises(UnsupportedFormat, match="16-bit colour in separate planes"):
        read(colour_tiff(colour, separate=True), formats=TRAINING)
    with pytest.raises(UnsupportedFormat, match="16-bit colour with a transparent one"):
        read(raw_png(colour, 16, 2, colour[0, 0].astype(">u2").tobytes()))
