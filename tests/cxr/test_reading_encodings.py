"""One phantom in every encoding: what is lossless gives the same bytes to the network, what is lossy nearly the same."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cxr.intensity import to_gray8
from cxr.reading import TRAINING, read
from tests.cxr.dicoms import dicom, encapsulated, jpeg, phantom
from tests.cxr.encodings import colour_tiff, lossless, lossy, raw_png, saved
from tests.cxr.lossless_jpeg import lossless_jpeg

PHANTOM = phantom()
P12 = PHANTOM.astype(np.uint16) * 16
P16 = PHANTOM.astype(np.uint16) * 257
SIGNED = (P12.astype(np.int32) - 2048).astype(np.int16)
EXPECTED = to_gray8(PHANTOM.astype(np.float32))


def picture(pixels: NDArray[Any] = PHANTOM) -> Image.Image:
    return Image.fromarray(pixels)


def palette() -> bytes:
    # An order of its own: an index is not a gray level.
    image = Image.fromarray(255 - PHANTOM, "L")
    image.putpalette([255 - i // 3 for i in range(768)])
    return saved(image)


def rgba() -> bytes:
    image = picture().convert("RGBA")
    image.putalpha(255)
    return saved(image)


def gray_alpha() -> bytes:
    return saved(Image.merge("LA", (picture(), Image.new("L", picture().size, 255))))


def turned(orientation: int, kind: str = "PNG") -> bytes:
    """The phantom stored so that the EXIF orientation turns it back."""
    undo: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture(np.ascontiguousarray(undo[orientation](PHANTOM))), kind, exif=exif)


def lut(entries: NDArray[Any], first: int, bits: int, order: str = "<u2") -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.add_new("LUTData", "OW", entries.astype(order).tobytes())
    item["LUTDescriptor"].VR = "US"
    return [item]


def overlaid() -> NDArray[np.uint16]:
    """Values in bits 2..13, an overlay above and noise below."""
    noise = np.arange(PHANTOM.size, dtype=np.uint16).reshape(PHANTOM.shape)
    return (P12 << 2) | (noise & 3) | ((noise & 1) << 15)


LOSSLESS: dict[str, Callable[[], bytes]] = {
    **lossless(PHANTOM),
    "png 12 bit in 16": lambda: saved(picture(P12)),
    "png palette": palette,
    "png gray in rgb": lambda: saved(picture().convert("RGB")),
    "png rgba": rgba,
    "png gray and alpha": gray_alpha,
    "tiff 8 bit": lambda: saved(picture(), "TIFF"),
    "tiff 16 bit": lambda: saved(picture(P16), "TIFF", compression="tiff_deflate"),
    "tiff 16-bit rgb": lambda: colour_tiff(np.stack([P16] * 3, axis=2), separate=False),
    "tiff turned": lambda: turned(6, "TIFF"),
    "tiff min is white": lambda: saved(picture(), "TIFF", tiffinfo={262: 0}),  # Pillow inverts on saving
    "tiff 16 bit min is white": lambda: saved(picture(65535 - P16), "TIFF", tiffinfo={262: 0}),
    **{f"png exif {o}": (lambda o=o: turned(o)) for o in range(1, 9)},
    "dicom 8 bit": lambda: dicom(PHANTOM),
    "dicom 16 bit": lambda: dicom(P16),
    "dicom big endian 8 bit": lambda: dicom(PHANTOM, ExplicitVRBigEndian),
    "dicom signed implicit": lambda: dicom(SIGNED, ImplicitVRLittleEndian, 12),
    "dicom monochrome1 signed": lambda: dicom(-SIGNED, bits=13, PhotometricInterpretation="MONOCHROME1"),
    "dicom rescaled": lambda: dicom(P12, bits=12, RescaleSlope="2", RescaleIntercept="-1024"),
    "dicom rescaled downwards": lambda: dicom(4095 - P12, bits=12, RescaleSlope="-1", RescaleIntercept="0"),
    "dicom wide window": lambda: dicom(P12, bits=12, WindowCenter=["2048", "40"], WindowWidth=["4096", "400"]),
    "dicom rescaled window": lambda: dicom(
        SIGNED, bits=12, RescaleSlope="1", RescaleIntercept="2048", WindowCenter="2048", WindowWidth="4096"
    ),
    "dicom window of other units": lambda: dicom(P12, bits=12, WindowCenter="40", WindowWidth="4"),
    "dicom modality lut": lambda: dicom(
        4080 - P12, bits=12, ModalityLUTSequence=lut(np.arange(4095, -1, -1), 0, 16), RescaleType="US"
    ),
    "dicom voi lut": lambda: dicom(P12, bits=12, VOILUTSequence=lut(np.arange(4096) * 3, 0, 14)),
    "dicom voi lut from -2048": lambda: dicom(SIGNED, bits=12, VOILUTSequence=lut(np.arange(4096), 63488, 12)),
    "dicom high bit 13": lambda: dicom(overlaid(), bits=16, BitsStored=12, HighBit=13),
    "dicom rle 8 bit": lambda: dicom(PHANTOM, RLELossless),
    "dicom jpeg lossless .70 16 bit": lambda: dicom(P16, JPEGLosslessSV1, 16),
    "dicom jpeg lossless .70 8 bit": lambda: dicom(PHANTOM, JPEGLosslessSV1),
    "dicom jpeg-ls signed": lambda: dicom(SIGNED, JPEGLSLossless, 12),
    "dicom jpeg 2000 signed": lambda: dicom(SIGNED, JPEG2000Lossless, 12),
    "dicom jpeg 2000 8 bit": lambda: dicom(PHANTOM, JPEG2000Lossless),
    "dicom jpeg 2000 in the lossy syntax": lambda: encapsulated(
        saved(picture(), "JPEG2000", no_jp2=True), JPEG2000, *PHANTOM.shape
    ),
    "dicom lossless in the lossy syntax": lambda: dicom(P12, JPEGLSNearLossless, 12),
}

LOSSY: dict[str, Callable[[], bytes]] = {
    **lossy(PHANTOM),
    "jpeg rgb": lambda: saved(picture().convert("RGB"), "JPEG", quality=95),
    "jpeg cmyk": lambda: saved(picture().convert("RGB").convert("CMYK"), "JPEG", quality=95),
    **{f"jpeg exif {o}": (lambda o=o: turned(o, "JPEG")) for o in range(1, 9)},
    "dicom jpeg extended of 8 bits": lambda: encapsulated(jpeg(PHANTOM), JPEGExtended12Bit, *PHANTOM.shape),
    "dicom jpeg 2000 lossy": lambda: encapsulated(
        saved(picture(), "JPEG2000", no_jp2=True, irreversible=True, quality_layers=[4]), JPEG2000, *PHANTOM.shape
    ),
    "dicom jpeg monochrome1": lambda: dicom(255 - PHANTOM, JPEGBaseline8Bit, PhotometricInterpretation="MONOCHROME1"),
    "dicom rescaled by a fraction": lambda: dicom(P12, bits=12, RescaleSlope="0.3333", RescaleIntercept="-17.25"),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_encoding_gives_the_network_the_same_bytes(name: str) -> None:
    np.testing.assert_array_equal(to_gray8(read(LOSSLESS[name](), formats=TRAINING).pixels), EXPECTED)


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_encoding_gives_nearly_the_same_bytes(name: str) -> None:
    difference = np.abs(to_gray8(read(LOSSY[name]()).pixels).astype(int) - EXPECTED)
    assert difference.mean() < 2 and difference.max() <= 24


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_first_value_of_a_voi_lut_is_signed_where_the_values_behind_the_modality_step_are(syntax: UID) -> None:
    order = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
    table = lut(np.arange(4096) + 40000, 63488, 16, order)
    for stored, first, modality in (
        (SIGNED, 40000, {"ModalityLUTSequence": table, "RescaleType": "US"}),
        (SIGNED, 40000, {"RescaleSlope": "1", "RescaleIntercept": "42048"}),
        (SIGNED, 63488, {}),
        (P12, 64512, {"RescaleSlope": "1", "RescaleIntercept": "-1024"}),
    ):
        data = dicom(stored, syntax, 12, VOILUTSequence=lut(np.arange(4096), first, 12, order), **modality)
        np.testing.assert_array_equal(to_gray8(read(data).pixels), EXPECTED)


def test_sixteen_bits_are_neither_saturated_nor_cut() -> None:
    ramp = np.tile(np.arange(0, 65536, 512, dtype=np.uint16), (128, 1))
    radiograph = read(saved(picture(ramp)))
    assert radiograph.bits == 16
    np.testing.assert_array_equal(radiograph.pixels, ramp.astype(np.float32))


@pytest.mark.parametrize("predictor", range(1, 8))
def test_jpeg_lossless_wraps_its_differences_at_65536(predictor: int) -> None:
    extremes = np.random.default_rng(7).choice(np.array([0, 1, 32767, 32768, 65534, 65535], np.uint16), (64, 64))
    radiograph = read(encapsulated(lossless_jpeg(extremes, 16, predictor), JPEGLossless, 64, 64, 16))
    np.testing.assert_array_equal(radiograph.pixels, extremes.astype(np.float32))


def test_jpeg_extended_keeps_its_twelve_bits() -> None:
    noisy = P12 + np.random.default_rng(7).integers(0, 16, P12.shape, dtype=np.uint16)
    pixels = read(dicom(noisy, JPEGExtended12Bit, 12)).pixels.astype(int)
    assert np.abs(pixels - noisy).max() <= 8  # of 4096, with coefficients rounded to multiples of 4


def test_the_steps_taken_are_named() -> None:
    def steps(data: bytes) -> tuple[str, ...]:
        return read(data, formats=TRAINING).transforms

    assert steps(turned(6)) == ("exif-orientation-6",)
    assert steps(turned(1)) == ()
    assert steps(rgba()) == ("alpha-on-black", "rgb-to-gray")
    assert steps(palette()) == ("palette-to-rgb", "rgb-to-gray")
    assert steps(LOSSLESS["tiff 16 bit min is white"]()) == ("min-is-white-inverted",)
    assert steps(LOSSLESS["dicom monochrome1"]()) == ("monochrome1-inverted",)
    assert steps(LOSSLESS["dicom rescaled window"]()) == ("rescale", "voi-window")
    assert steps(LOSSLESS["dicom voi lut"]()) == ("voi-lut",)
    assert steps(LOSSLESS["dicom window of other units"]()) == ("voi-window-ignored",)


def test_a_window_clips_to_its_own_ends() -> None:
    pixels = read(dicom(P12, bits=12, WindowCenter="2048.5", WindowWidth="2001")).pixels
    assert (pixels.min(), pixels.max()) == (1048, 3048)
    exact = read(dicom(P12, bits=12, WindowCenter="2048", WindowWidth="2000", VOILUTFunction="LINEAR_EXACT")).pixels
    np.testing.assert_array_equal(pixels, exact)


@pytest.mark.parametrize(("center", "width"), [("nan", "100"), ("2048", "inf"), ("2048", "0"), ("2048", "1"), ("1e300", "1e300")])
def test_a_window_without_sense_is_ignored_by_name(center: str, width: str) -> None:
    for function in ("LINEAR", "SIGMOID"):
        flat = np.where(P12 > 1_000, np.uint16(2_048), P12)
        radiograph = read(dicom(flat, bits=12, WindowCenter=center, WindowWidth=width, VOILUTFunction=function))
        if (function, width) != ("SIGMOID", "1"):
            assert radiograph.transforms == ("voi-window-ignored",)


def test_a_sigmoid_window_keeps_order_and_bends_the_tones() -> None:
    radiograph = read(dicom(P12, bits=12, WindowCenter="2048", WindowWidth="1500", VOILUTFunction="SIGMOID"))
    order = np.argsort(P12, axis=None, kind="stable")
    assert radiograph.transforms == ("voi-sigmoid",)
    assert np.all(np.diff(radiograph.pixels.ravel()[order]) >= 0)


def test_padding_becomes_as_dark_as_the_film_and_no_darker() -> None:
    padded = P12 + 100
    padded[:, :10] = 4095
    radiograph = read(dicom(padded, bits=13, PixelPaddingValue=4095, PhotometricInterpretation="MONOCHROME1"))
    assert radiograph.transforms == ("monochrome1-inverted", "padding-to-black")
    assert np.all(radiograph.pixels[:, :10] == radiograph.pixels[:, 10:].min())
    signed = SIGNED.copy()
    signed[:, -5:] = -2048
    radiograph = read(dicom(signed, bits=12, PixelPaddingValue=-2048))
    assert np.all(radiograph.pixels[:, -5:] == radiograph.pixels[:, :-5].min())


def test_transparent_pixels_are_black() -> None:
    image = picture().convert("RGBA")
    image.putalpha(Image.fromarray(np.where(np.arange(96) < 20, 0, 255).astype(np.uint8)[None].repeat(80, 0)))
    assert not read(saved(image)).pixels[:, :20].any()
    assert not read(saved(picture(P16), transparency=int(P16[40, 40]))).pixels[40, 40]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_gray_of_a_png_is_black_at_every_depth(bits: int) -> None:
    grays = np.random.default_rng(5).integers(0, 2**bits, (80, 96))
    for hidden in (0, 2 ** (bits - 1), 2**bits - 1):
        radiograph = read(raw_png(grays[..., None], bits, 0, struct.pack(">H", hidden)))
        expected = np.where(grays == hidden, 0, grays) * (1 if bits == 16 else 255 // (2**bits - 1))
        np.testing.assert_array_equal(radiograph.pixels, expected)
        assert radiograph.transforms == ("alpha-on-black",)


def test_only_code_words_are_kept_of_a_dicom_and_no_name() -> None:
    radiograph = read(dicom(P12, bits=12))
    assert (radiograph.modality, radiograph.view, radiograph.bits, radiograph.photometric) == ("DX", "PA", 12, "MONOCHROME2")
    assert read(dicom(P12, bits=12, ViewPosition="SMITH")).view is None
    assert "SECRET" not in repr(radiograph)


def test_a_data_set_without_preamble_is_read() -> None:
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        bare = dicom(P12, syntax, 12)[132:]
        np.testing.assert_array_equal(to_gray8(read(bare).pixels), EXPECTED)
        # Without the file meta group, too: (0002,0000) holds the length of the rest of the group.
        group = 12 + int.from_bytes(bare[8:12], "little")
        np.testing.assert_array_equal(to_gray8(read(bare[group:]).pixels), EXPECTED)
