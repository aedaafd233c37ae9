"""PNG, JPEG and TIFF bytes → Radiograph: full bit depth, upright, gray.

Colour profiles and PNG gamma are left alone: the later percentile normalisation removes shift and scale, and the exporters of
radiographs that write a profile write a generic one.
"""

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from cxr.errors import FileTooLarge, NotGray, TruncatedFile, UnsupportedFormat
from cxr.headers import Stream, jpeg_header, png_header
from cxr.radiograph import Limits, Radiograph, Samples, damage_named

ORIENTATION = 0x0112  # EXIF tag, 1..8
BITS_PER_SAMPLE, PHOTOMETRIC, MIN_IS_WHITE = 258, 262, 0  # TIFF tags and value
SAMPLES_PER_PIXEL, PLANAR_CONFIGURATION, SEPARATE = 277, 284, 2

# Chroma = largest minus smallest of R, G, B, of 255. Tinted screens and drawn arrows stay below the share, photographs above.
COLOURED_CHROMA, COLOURED_SHARE = 40, 0.25


def read_raster(data: bytes, source: str, limits: Limits) -> Radiograph:
    """One film from PNG, JPEG or TIFF bytes (`source` "png" | "jpeg" | "tiff").

    16 bits stay 16 bits (Pillow's own conversion to "L" saturates them), EXIF rotation is applied, alpha is flattened on black,
    colour is accepted where it is gray in RGB. Raises FilmTooSmall, FileTooLarge, TruncatedFile, UnsupportedFormat, NotGray.
    """
    header = checked_header(data, source, limits)
    with damage_named(f"a {source.upper()}"), _opened(data, source) as image:
        if header is not None and image.size != (header.width, header.height):
            raise TruncatedFile(f"a {source.upper()} that declares two sizes", "one size")
        limits.check_geometry(*image.size)
        if source != "jpeg" and getattr(image, "n_frames", 1) > 1:
            raise UnsupportedFormat(f"a {source.upper()} of several pictures", "one picture per file", "Send one film at a time.")
        orientation = image.getexif().get(ORIENTATION, 1)
        photometric, bits = image.mode, _bits(image, header)
        _refuse_misread(image, header, bits)
        white_is_zero = source == "tiff" and image.tag_v2.get(PHOTOMETRIC) == MIN_IS_WHITE  # type: ignore[attr-defined]
        image.load()
        _scale_transparency(image, bits)
        pixels, steps = _gray(ImageOps.exif_transpose(image) if orientation != 1 else image)
    if white_is_zero:
        steps = (*steps, "min-is-white-inverted")
        if bits > 8:  # Pillow inverts up to 8 bits while decoding, and no more
            pixels = np.float32(2**bits - 1) - pixels
    if orientation in range(2, 9):
        steps = (f"exif-orientation-{orientation}", *steps)
    return Radiograph(np.ascontiguousarray(pixels), bits, source, photometric, steps)


def checked_header(data: bytes, source: str, limits: Limits) -> Stream | None:
    """Geometry from the header where the format has one at a fixed place; TIFF has none, Pillow reads its tags lazily."""
    if source == "tiff":
        return None
    header = png_header(data) if source == "png" else jpeg_header(data)
    limits.check_geometry(header.width, header.height)
    if header.scans > limits.max_scans:
        raise FileTooLarge(f"a JPEG of {header.scans} scans", f"at most {limits.max_scans} scans", "Save it as a baseline JPEG.")
    if source == "jpeg" and (header.process not in ("SOF0", "SOF1", "SOF2") or header.bits != 8):
        raise UnsupportedFormat(
            f"a JPEG of process {header.process} with {header.bits} bits", "8-bit baseline, extended or progressive JPEG"
        )
    return header


def _opened(data: bytes, source: str) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=[source.upper()])
    except Image.DecompressionBombError:
        raise FileTooLarge(f"a {source.upper()} of far too many pixels", "at most the pixel limit") from None


def _bits(image: Image.Image, header: Stream | None) -> int:
    """Depth of one sample as it reaches us: Pillow keeps 16 bits of gray, the upper 8 of colour."""
    if header is None:
        return int(image.tag_v2.get(BITS_PER_SAMPLE, (1,))[0])  # type: ignore[attr-defined]
    return header.bits if header.components == 1 else min(header.bits, 8)


def _refuse_misread(image: Image.Image, header: Stream | None, bits: int) -> None:
    """Layouts of 16-bit colour that Pillow decodes to something else, and says nothing."""
    if header is None:
        tags = image.tag_v2  # type: ignore[attr-defined]
        if bits > 8 and tags.get(SAMPLES_PER_PIXEL, 1) > 1 and tags.get(PLANAR_CONFIGURATION) == SEPARATE:
            raise UnsupportedFormat(f"a TIFF of {bits}-bit colour in separate planes", "one plane", "Save it as 16-bit gray.")
    elif (header.components, header.bits) == (3, 16) and "transparency" in image.info:
        # It keeps the upper 8 bits of a sample, of which 256 colours would be the one that is transparent.
        raise UnsupportedFormat("a PNG of 16-bit colour with a transparent one", "colour without it", "Save it as 16-bit gray.")


def _scale_transparency(image: Image.Image, bits: int) -> None:
    """Pillow spreads gray of 2 and 4 bits over 0..255, and leaves the transparent one as it was written."""
    if image.mode == "L" and bits in (2, 4) and isinstance(hidden := image.info.get("transparency"), int):
        image.info["transparency"] = hidden * 255 // (2**bits - 1)


def _gray(image: Image.Image) -> tuple[Samples, tuple[str, ...]]:
    """Decoded picture → (H, W) samples and the names of the steps taken."""
    steps: list[str] = []
    if image.mode in ("I;16", "I;16L", "I;16B"):
        wide = np.array(image, dtype=np.uint16)
        if isinstance(hidden := image.info.get("transparency"), int):
            wide[wide == hidden] = 0
            steps.append("alpha-on-black")
        return wide, tuple(steps)
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
        steps.append("palette-to-rgb")
    if "transparency" in image.info and image.mode in ("1", "L", "RGB"):
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode in ("LA", "RGBA"):
        image = _on_black(image)
        steps.append("alpha-on-black")
    if image.mode in ("CMYK", "YCbCr"):
        steps.append(f"{image.mode.lower()}-to-rgb")
        image = image.convert("RGB")
    if image.mode == "RGB":
        _refuse_coloured(image)
        image = image.convert("L")
        steps.append("rgb-to-gray")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode != "L":
        raise UnsupportedFormat(f"samples of type {image.mode}", "gray or colour of 1 to 16 bits", "Save it as 16-bit gray.")
    return np.asarray(image), tuple(steps)


def _on_black(image: Image.Image) -> Image.Image:
    flat = "L" if image.mode == "LA" else "RGB"
    black = Image.new(flat, image.size, 0)
    black.paste(image.convert(flat), mask=image.getchannel("A"))
    return black


def _refuse_coloured(image: Image.Image) -> None:
    step = max(1, min(image.size) // 256)
    sample = np.asarray(image)[::step, ::step].astype(np.int16)
    share = float(np.mean(sample.max(axis=2) - sample.min(axis=2) > COLOURED_CHROMA))
    if share > COLOURED_SHARE:
        raise NotGray(f"{share:.0%} strongly coloured pixels", f"at most {COLOURED_SHARE:.0%}", "Send the film, no photo.")
