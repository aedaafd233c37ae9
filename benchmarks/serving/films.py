"""Three films as they are sent: JPEG of 1024², PNG of 2048², DICOM of 2000² with 16 bits; drawn from a seed, of nobody."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

KINDS = ("jpeg", "png", "dicom")
TYPES = {"jpeg": "image/jpeg", "png": "image/png", "dicom": "application/dicom"}


def film(kind: str, seed: int = 0) -> bytes:
    """Content of one file."""
    size = {"jpeg": 1024, "png": 2048, "dicom": 2000}[kind]
    drawn = _drawn(size, seed)
    if kind == "dicom":
        return _dicom((drawn * 4095).astype(np.uint16))
    out = io.BytesIO()
    Image.fromarray((drawn * 255).astype(np.uint8)).save(out, kind, **({"quality": 90} if kind == "jpeg" else {}))
    return out.getvalue()


def _drawn(size: int, seed: int) -> NDArray[np.float64]:
    """Two dark lungs on a bright ground, with soft structure and as much noise as gives files of the usual size; in 0..1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    cloud = Image.fromarray(rng.normal(0, 1, (24, 24)).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
    picture = 0.75 + 0.04 * np.asarray(cloud) + rng.normal(0, 0.006, (size, size))
    for centre in (0.31, 0.69):
        distance = np.sqrt(((x - centre) / 0.15) ** 2 + ((y - 0.48) / 0.33) ** 2)
        picture -= 0.5 / (1 + np.exp(25 * (distance - 1)))
    return np.clip(picture, 0, 1)


def _dicom(pixels: NDArray[np.uint16]) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=["film"])
    dataset.Modality, dataset.ViewPosition = "DX", "PA"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = pixels.tobytes()
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()
