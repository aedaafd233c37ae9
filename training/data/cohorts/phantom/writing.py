"""A finished picture → a file: DICOM (CR or DX), PNG or TIFF. The same picture gives the same bytes."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from training.data.cohorts.phantom.acquisition import Exposure
from training.data.cohorts.phantom.plan import FilmPlan
from training.data.cohorts.phantom.styles import STYLES

_COMPRESSED = {"rle": RLELossless, "jpeg2000": JPEG2000Lossless}
_CR, _DX = ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation


def write_film(path: Path, plan: FilmPlan, exposure: Exposure) -> None:
    """Writes the picture in the format of the path's extension, at the plan's bit depth."""
    if plan.extension == ".dcm":
        _write_dicom(path, plan, exposure.picture)
        return
    stored = stored_values(plan, exposure.picture)
    Image.fromarray(stored).save(path, compress_level=1)  # TIFF has no such setting and ignores it


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """A lung mask as an 8-bit PNG of 0 and 255."""
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(path)


def stored_values(plan: FilmPlan, picture: NDArray[np.float32]) -> NDArray[Any]:
    """0..1 → integers of plan.bits bits (uint8 up to 8 bits, else uint16). Most detectors leave a part of their range unused."""
    rng = np.random.default_rng((*plan.seed, 3))
    top = (2**plan.bits - 1) * (1.0 if plan.bits == 8 else rng.uniform(0.75, 1.0))
    base = 0.0 if plan.bits == 8 else top * rng.uniform(0.0, 0.06)
    values = np.rint(base + picture * (top - base))
    if plan.monochrome1:
        values = 2**plan.bits - 1 - values
    return np.asarray(values, dtype=np.uint8 if plan.bits == 8 else np.uint16)


def _write_dicom(path: Path, plan: FilmPlan, picture: NDArray[np.float32]) -> None:
    stored = stored_values(plan, picture)
    dicom = _identity(plan)
    _describe_pixels(dicom, plan, stored)
    dicom.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dicom["PixelData"].VR = "OB" if plan.bits == 8 else "OW"
    if plan.syntax in _COMPRESSED:
        dicom.compress(_COMPRESSED[plan.syntax], generate_instance_uid=False)
    dicom.save_as(path, enforce_file_format=True)


def _identity(plan: FilmPlan) -> FileDataset:
    """Patient, study and equipment: all invented, no dates, no name but PHANTOM."""
    style = STYLES[plan.style]
    uid = generate_uid(entropy_srcs=["mdmt phantom", *map(str, plan.seed)])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _CR if style.modality == "CR" else _DX
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dicom = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dicom.SOPClassUID, dicom.SOPInstanceUID = meta.MediaStorageSOPClassUID, uid
    dicom.StudyInstanceUID = generate_uid(entropy_srcs=["mdmt phantom study", *map(str, plan.seed)])
    dicom.SeriesInstanceUID = generate_uid(entropy_srcs=["mdmt phantom series", *map(str, plan.seed)])
    dicom.PatientName, dicom.PatientID, dicom.PatientBirthDate = "PHANTOM", plan.patient, ""
    dicom.PatientSex = "F" if plan.female else "M"
    dicom.PatientIdentityRemoved, dicom.DeidentificationMethod = "YES", "COMPUTER GENERATED"
    dicom.StudyDate = dicom.StudyTime = dicom.AccessionNumber = dicom.ReferringPhysicianName = dicom.StudyID = ""
    dicom.SeriesNumber = dicom.InstanceNumber = 1
    dicom.Modality, dicom.Manufacturer = style.modality, style.manufacturer
    dicom.BodyPartExamined, dicom.ViewPosition, dicom.PatientOrientation = "CHEST", "AP" if plan.supine else "PA", ["L", "F"]
    dicom.ImageType, dicom.BurnedInAnnotation = ["DERIVED", "PRIMARY"], "YES" if style.writing or style.letter else "NO"
    dicom.DerivationDescription = "Computer-generated phantom, not a patient"
    return dicom


def _describe_pixels(dicom: Dataset, plan: FilmPlan, stored: NDArray[Any]) -> None:
    """Image pixel, window and rescale tags; the additional ones that DX asks for."""
    dicom.SamplesPerPixel, (dicom.Rows, dicom.Columns) = 1, stored.shape
    dicom.PhotometricInterpretation = "MONOCHROME1" if plan.monochrome1 else "MONOCHROME2"
    dicom.BitsAllocated = 8 if plan.bits == 8 else 16
    dicom.BitsStored, dicom.HighBit, dicom.PixelRepresentation = plan.bits, plan.bits - 1, 0
    dicom.PixelSpacing = [round(350 / plan.rows, 4)] * 2  # the film shows about 35 cm of patient
    dicom.ImagerPixelSpacing = dicom.PixelSpacing
    low, high = int(stored.min()), int(stored.max())
    dicom.WindowCenter, dicom.WindowWidth = (low + high) // 2, max(1, high - low)
    if STYLES[plan.style].modality == "CR" and plan.seed[-2] % 3:
        return
    dicom.RescaleIntercept, dicom.RescaleSlope, dicom.RescaleType = 0, 1, "US"
    dicom.PresentationLUTShape = "INVERSE" if plan.monochrome1 else "IDENTITY"
    if STYLES[plan.style].modality == "DX":
        dicom.PresentationIntentType, dicom.ImageLaterality = "FOR PRESENTATION", "U"
        dicom.PixelIntensityRelationship, dicom.PixelIntensityRelationshipSign = "LOG", -1 if plan.monochrome1 else 1
        dicom.LossyImageCompression, dicom.DetectorType = "00", "DIRECT"
        dicom.AnatomicRegionSequence = [_code("816094009", "Chest")]
        view = ("399348003", "antero-posterior") if plan.supine else ("399273005", "postero-anterior")
        dicom.ViewCodeSequence = [_code(*view)]
        dicom.AcquisitionContextSequence = []


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return code
