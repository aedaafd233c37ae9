"""DICOM bytes for tests: one small film in every layout that is read, with any tag overridden."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    generate_uid,
)

from tests.cxr.extended_jpeg import extended_jpeg
from tests.cxr.lossless_jpeg import lossless_jpeg

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"


def phantom(height: int = 80, width: int = 96) -> NDArray[np.uint8]:
    """A lopsided chest of 256 gray levels: no flip or turn of it equals itself."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    y, x = y / height, x / width
    picture = 150 + 60 * y - 70 * x
    for row, column, high, wide, depth in ((0.45, 0.3, 0.3, 0.14, 110), (0.5, 0.72, 0.25, 0.12, 90), (0.1, 0.1, 0.06, 0.05, -80)):
        picture -= depth * np.exp(-(((y - row) / high) ** 4) - ((x - column) / wide) ** 4)
    picture += 25 * np.sin(40 * y)
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    return np.rint(255 * picture).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], quality: int = 95, **options: Any) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, **options)
    return stream.getvalue()


def dicom(pixels: NDArray[Any], syntax: UID = ExplicitVRLittleEndian, bits: int | None = None, **tags: Any) -> bytes:
    """(H, W) stored values of an 8- or 16-bit type → a complete file. `bits` = BitsStored, `tags` override anything by keyword
    (a value of None removes the tag)."""
    dataset = _described(pixels, bits or 8 * pixels.itemsize)
    dataset.file_meta.TransferSyntaxUID = syntax if syntax in NATIVE else ExplicitVRLittleEndian
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    native = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    dataset["PixelData"].value = native + b"\0" * (len(native) % 2)
    if syntax == JPEGBaseline8Bit:
        _hold(dataset, syntax, jpeg(pixels))
    elif syntax == JPEGExtended12Bit:
        _hold(dataset, syntax, extended_jpeg(pixels))
    elif syntax in (JPEGLossless, JPEGLosslessSV1):
        _hold(dataset, syntax, lossless_jpeg(pixels, dataset.BitsStored, 1 if syntax == JPEGLosslessSV1 else 6))
    elif syntax not in NATIVE:
        dataset.compress(syntax, generate_instance_uid=False)
    for keyword, value in tags.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return written(dataset, syntax)


def encapsulated(frame: bytes, syntax: UID, rows: int, columns: int, bits: int = 8, **tags: Any) -> bytes:
    """A file that says Rows × Columns and holds `frame` as its compressed data, whatever that is."""
    dataset = _described(np.zeros((1, 1), np.uint8 if bits == 8 else np.uint16), bits)
    dataset.Rows, dataset.Columns = rows, columns
    _hold(dataset, syntax, frame)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return written(dataset, syntax)


def written(dataset: Dataset, syntax: UID) -> bytes:
    stream = BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dataset.save_as(stream, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return stream.getvalue()


def _described(pixels: NDArray[Any], bits: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(DX_FOR_PRESENTATION), generate_uid(entropy_srcs=["phantom"])
    dataset.PatientName, dataset.PatientID = "SECRET^NAME", "SECRET-ID"
    dataset.Modality, dataset.ViewPosition = "DX", "PA"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = b""
    return dataset


def _hold(dataset: Dataset, syntax: UID, frame: bytes) -> None:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = "OB"
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
