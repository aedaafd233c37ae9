"""DICOM bytes → Radiograph: single-frame gray radiographs of the modalities CR, DX, DR and RG; everything else by a named error.

Only the tags listed here are parsed, none of which can name a patient (age and birthday are made a yes or no at once). Deflated data is
refused before pydicom would inflate it (1 MB becomes 2 GB), nested sequences end in a RecursionError that `damage_named` turns into
TruncatedFile.
"""

import re
from io import BytesIO

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cxr import dicom_tags
from cxr.dicom_pixels import PLUGINS, stored_values
from cxr.dicom_tones import displayed
from cxr.errors import FilmError, TruncatedFile, UnsupportedDicom
from cxr.radiograph import Limits, Radiograph, damage_named

# Computed, digital and direct radiography ("DR" is no code of the standard, and seen), digitised film. Not OT and SC: anything can be
# in them.
MODALITIES = ("CR", "DX", "DR", "RG")
PREAMBLE = 132  # 128 free bytes and "DICM"
MOST_ELEMENTS = 20_000
PIXEL_DATA, UNDEFINED_LENGTH = 0x7FE00010, 0xFFFFFFFF

# fmt: off
_KEYWORDS = (
    "Modality", *dicom_tags.KEYWORDS, "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "PixelData",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth",
)
# fmt: on


def read_dicom(data: bytes, limits: Limits) -> Radiograph:
    """One film from DICOM bytes; see `cxr.dicom_tones.displayed` for the meaning of its values.

    Raises UnsupportedDicom (modality, frames, colour, sample layout, transfer syntax), FilmTooSmall, FileTooLarge, TruncatedFile.
    """
    with damage_named("a DICOM file"):
        dataset = _parsed(data)
        modality = _checked_modality(dataset)
        _check_layout(dataset, limits)
        stored = stored_values(dataset, limits)
        pixels, steps = displayed(stored, dataset)
        return Radiograph(
            pixels=np.ascontiguousarray(pixels),
            bits=int(dataset.BitsStored),
            source="dicom",
            photometric=str(dataset.PhotometricInterpretation),
            transforms=steps,
            modality=modality,
            view=dicom_tags.view_of(dataset),
            chest=dicom_tags.is_chest(dataset),
            adult=dicom_tags.is_adult(dataset),
        )


def _parsed(data: bytes) -> Dataset:
    """Data set with the tags of `_KEYWORDS` and the file meta information (assumed where a bare data set has none)."""
    stream = BytesIO(data)
    stream.seek(PREAMBLE if data[128:132] == b"DICM" else 0)
    meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2))
    if "TransferSyntaxUID" not in meta:
        # Default of PS3.5 section 10 for a bare data set; two capitals after the tag can only be an explicit VR.
        explicit = data[stream.tell() + 4 : stream.tell() + 6].isalpha()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
    syntax = meta.TransferSyntaxUID
    if syntax not in PLUGINS:
        name = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "an unknown transfer syntax"
        raise UnsupportedDicom(name, "uncompressed, RLE, JPEG, JPEG Lossless, JPEG-LS, JPEG 2000", "Export it uncompressed.")
    seen = 0
    wanted, begun = [Tag(keyword) for keyword in _KEYWORDS], set()

    def look(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal seen
        seen += 1
        if seen > MOST_ELEMENTS:
            raise TruncatedFile("a DICOM file of endless elements", f"at most {MOST_ELEMENTS:,} elements")
        if length != UNDEFINED_LENGTH and tag < PIXEL_DATA and stream.tell() + length > len(data):
            raise _cut_off()
        begun.add(tag)
        return False

    dataset = read_dataset(
        stream,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
        stop_when=look,
        specific_tags=wanted,
    )
    # pydicom gives no element at all where the file ends within one of undefined length, as compressed pixel data is.
    if not begun or any(tag in begun and tag not in dataset for tag in wanted):
        raise _cut_off()
    dataset.file_meta = meta
    return dataset


def _cut_off() -> FilmError:
    return TruncatedFile("a DICOM file that ends early", "a complete file", "Export or upload the film again.")


def _checked_modality(dataset: Dataset) -> str:
    modality = str(dataset.get("Modality", "")).strip()
    if modality not in MODALITIES:
        # Any text can stand in a tag: only what looks like a code word is repeated.
        found = f"modality {modality}" if re.fullmatch("[A-Z]{2,4}", modality) else "no known modality"
        raise UnsupportedDicom(found, ", ".join(MODALITIES), "Send the chest radiograph, not a derived or other object.")
    return modality


def _check_layout(dataset: Dataset, limits: Limits) -> None:
    """One frame of one gray sample in 8 or 16 bits; sizes within the limits."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnsupportedDicom(f"{frames} frames", "1 frame", "Send one film at a time.")
    if "PixelData" not in dataset:
        raise _without("pixel data")
    missing = [key for key in ("Rows", "Columns", "BitsAllocated", "BitsStored") if not isinstance(dataset.get(key), int)]
    if missing:
        raise _without(", ".join(missing))
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if dataset.get("SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnsupportedDicom("colour or unnamed samples", "one MONOCHROME1 or MONOCHROME2 sample", "Export the film as gray.")
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = photometric, 1
    limits.check_geometry(dataset.Columns, dataset.Rows)
    allocated, stored = dataset.BitsAllocated, dataset.BitsStored
    high = dataset.HighBit = dataset.get("HighBit", stored - 1)
    if allocated not in (8, 16) or not 0 < stored <= high + 1 <= allocated or dataset.get("PixelRepresentation", 0) not in (0, 1):
        found = f"{stored} bits stored below bit {high} of {allocated}"
        raise UnsupportedDicom(found, "samples in 8 or 16 allocated bits, signed or unsigned", "Export the film again.")
    dataset.PixelRepresentation = dataset.get("PixelRepresentation", 0)


def _without(what: str) -> FilmError:
    return UnsupportedDicom(f"a data set without {what}", "a complete image object", "Send the image, not a report or an index.")
