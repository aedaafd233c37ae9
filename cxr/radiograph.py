"""What reading a file gives (Radiograph), what it may cost (Limits), and how a decoder's own exception becomes a FilmError."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cxr.errors import FileTooLarge, FilmError, FilmTooSmall, TruncatedFile

# uint8 or uint16 as stored where nothing had to be done to the values, which saves most of the work and memory; float32 elsewhere.
Samples = NDArray[Any]


@dataclass(frozen=True)
class Limits:
    """Bounds that hold before anything is decoded: a few hundred bytes can ask for gigabytes.

    `max_bytes` of the file, `max_pixels` = width × height, `min_side` in pixels, `max_scans` of a progressive JPEG (each scan
    walks over all pixels once more). A full-size DX film has about 3000 × 3000 = 9 million pixels. `files_per_decoder`: PNG
    and JPEG are decoded by a disposable process that is thrown away after so many files, as each compressed DICOM frame always is by one of
    its own; for files from strangers. 0: by this process. `max_ratio` of one side to the other: a film has 1.5 at most, and the square
    that a strip is cropped to has the pixels of its long side squared.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 40_000_000
    min_side: int = 64
    max_scans: int = 100
    files_per_decoder: int = 0
    max_ratio: float = 4.0

    def check_geometry(self, width: int, height: int) -> None:
        """Raises FilmTooSmall or FileTooLarge for a picture of `width` × `height` pixels."""
        if min(width, height) < self.min_side:
            raise FilmTooSmall(
                f"{width} × {height} pixels", f"at least {self.min_side} pixels on each side", "Send the film, not a thumbnail."
            )
        if width * height > self.max_pixels:
            raise FileTooLarge(
                f"{width} × {height} pixels", f"at most {self.max_pixels:,} pixels", "Send the film at a lower resolution."
            )
        if max(width, height) > self.max_ratio * min(width, height):
            raise FilmTooSmall(
                f"a strip of {width} × {height} pixels",
                f"a side of at most {self.max_ratio:g} times the other",
                "Send the whole film.",
            )


@dataclass(frozen=True)
class Radiograph:
    """One film as read, before any normalisation.

    `pixels` is uint8, uint16 or float32 (H, W), finite, C-contiguous, larger = brighter on a light box (bones white), in the units of
    the file (0..255, 0..65535, or DICOM modality units): `cxr.intensity.to_gray8` makes them comparable. `bits` is the stored depth of one
    sample, `source` the format ("png" | "jpeg" | "tiff" | "dicom"), `photometric` the colour model as found ("L", "RGB", "CMYK",
    "MONOCHROME1", …), `transforms` the named steps that were applied, in order. `modality` and `view` are DICOM code words
    ("DX", "PA"), `chest` whether the body part is one and `adult` whether the patient is 18 years or older; each None where the file
    does not say. Nothing that could name the patient is read.
    """

    pixels: Samples
    bits: int
    source: str
    photometric: str
    transforms: tuple[str, ...] = ()
    modality: str | None = None
    view: str | None = None
    chest: bool | None = None
    adult: bool | None = None


@contextmanager
def damage_named(what: str) -> Iterator[None]:
    """Turns whatever a decoder raises on damaged bytes into TruncatedFile.

    FilmErrors pass, and so does ImportError: a decoder that is not installed is no fault of the file. Decoders raise
    AttributeError, struct.error, zlib.error, RecursionError and a dozen more (2,000 mutants of one DICOM gave 1,304 failures and
    not one of pydicom's own error class), so no list of classes would be complete. The chain is cut (`from None`) because decoder
    messages quote values of the file.
    """
    try:
        yield
    except (FilmError, ImportError):
        raise
    except MemoryError:
        raise FileTooLarge(f"{what} that needs more memory than there is", "a film that fits in memory") from None
    except Exception as error:  # noqa: BLE001
        raise TruncatedFile(
            f"{what} that does not decode ({type(error).__name__})", "a complete file", "Export or upload the film again."
        ) from None
