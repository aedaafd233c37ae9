"""An answer as a DICOM structured report (TID 1500, Measurement Report) that stands beside its film in the same study.

What names the patient is copied from the film into the report, as the standard asks, and goes nowhere else.
"""

import hashlib
import io
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset, Sequence, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DA, TM, validate_value

from cxr.prediction import Prediction, TaskAnswer
from cxr.quality import flags
from cxr.tasks import Task
from serving.answers import NOTICE
from serving.errors import ProblemError
from serving.readiness import LoadedBundle

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        CodedConcept,
        MeasurementReport,
        MeasurementsAndQualitativeEvaluations,
        SourceImageForMeasurementGroup,
    )

log = logging.getLogger("serving")

SCHEME = "99MDMT"  # codes of our own, as the standard wants private ones named
CODE_LENGTH = 16
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
COPIED = (
    *NEEDED, "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
IDENTIFIERS = (*NEEDED, "PatientID", "AccessionNumber", "StudyID")  # a report without one of them may be filed under nobody
SEXES = ("", "M", "F", "O")  # of the standard's, and highdicom takes no other
PARSED = {"DA": DA, "TM": TM}  # as highdicom will
_reading = Lock()  # pydicom's settings are the process's
SERIES_NUMBER = 9901


def structured_report(data: bytes, prediction: Prediction, loaded: LoadedBundle) -> bytes:
    """The bytes of an answered DICOM film, and its answer → the report as a DICOM file, explicit VR little endian.

    Raises ProblemError `not-acceptable` for another format, where the film names no study that the report could join, and where
    highdicom finds something else in its header that no report can hold.
    """
    if prediction.film.source != "dicom":
        raise ProblemError(
            "not-acceptable", "A report is answered for a DICOM film only: it joins the film's study. Ask for JSON."
        )
    with _failure_named():
        film = _header(data)
        missing = [name for name in NEEDED if not film.get(name)]
        if missing:
            raise ProblemError(
                "not-acceptable", f"The film has no {', '.join(missing)}, so no report can refer to it. Ask for JSON."
            )
        if UID(film.SOPClassUID).name == film.SOPClassUID:
            raise ProblemError(
                "not-acceptable",
                "The film's SOPClassUID is in no list of the standard, so no report can refer to it. Ask for JSON.",
            )
        content = _content(film, prediction, loaded)
        _check_codes(content)
        return _file(film, content, loaded.version)


@contextmanager
def _failure_named() -> Iterator[None]:
    """Turns whatever pydicom and highdicom raise over a header into a refusal. The film was answered, so it is neither damaged nor is
    the service; the chain is cut, and of the error only class and place are logged, because messages quote values of the film."""
    try:
        yield
    except (ProblemError, ImportError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error("no report: %s at %s:%s", type(error).__name__, place.filename, place.lineno)
        detail = f"The film's header has something that no report can repeat or refer to ({type(error).__name__}). Ask for JSON."
        raise ProblemError("not-acceptable", detail) from None


def _header(data: bytes) -> Dataset:
    """What the report copies; a value that is not allowed is left empty, which is how the standard says unknown."""
    header = Dataset()
    with _reading:
        mode = config.settings.reading_validation_mode
        config.settings.reading_validation_mode = config.IGNORE  # its warnings quote values of the file
        try:
            # By force: a film without preamble was answered as well.
            film = dcmread(io.BytesIO(data), stop_before_pixels=True, force=True, specific_tags=["SpecificCharacterSet", *COPIED])
            for name in COPIED:
                setattr(header, name, _copied(name, film.get(name)))
        finally:
            config.settings.reading_validation_mode = mode
    header.Rows, header.Columns = film.get("Rows"), film.get("Columns")
    return header


def _copied(name: str, value: object) -> str:
    """The value as text, "" where it is none that the tag may have. The dictionary says of which kind it is: a file may say anything.

    Raises ProblemError where an identifier has several values: which one the patient or the study goes by cannot be known.
    """
    if value is None or isinstance(value, bytes | Sequence):
        return ""
    if isinstance(value, MultiValue) or "\\" in str(value):
        if name in IDENTIFIERS:
            raise ProblemError("not-acceptable", f"The film's {name} has several values; allowed: one. Ask for JSON.")
        return ""
    text, kind = str(value), dictionary_VR(name)
    try:
        validate_value(kind, text, config.RAISE)
        PARSED.get(kind, str)(text)  # 20200231 has the form of a date
    except ValueError:
        return ""
    return "" if name == "PatientSex" and text not in SEXES else text


def _file(film: Dataset, content: "MeasurementReport", version: str) -> bytes:
    from highdicom.sr import ComprehensiveSR  # here and below: a second to import, which most services never need

    report = ComprehensiveSR(
        evidence=[film],
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="MDMT",
        series_description=NOTICE,
        specific_character_set="ISO_IR 192",
        software_versions=version,
        is_complete=True,
        is_final=False,  # preliminary and unverified: no person has read it
    )
    out = io.BytesIO()
    report.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _content(film: Dataset, prediction: Prediction, loaded: LoadedBundle) -> "MeasurementReport":
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(_uid_of(loaded.bundle.digest), loaded.name, "MDMT", model_name=loaded.name)
    observer = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    algorithm = sr.AlgorithmIdentification(loaded.name, loaded.version, parameters=[f"bundle {loaded.bundle.digest}", NOTICE])
    image = sr.SourceImageForMeasurementGroup(film.SOPClassUID, film.SOPInstanceUID)
    groups = [_lungs(film, prediction, loaded, algorithm)]
    for task in loaded.bundle.tasks:
        groups.append(_answer(task, prediction.answers[task.name], algorithm, image))
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=sr.CodedConcept("399208008", "SCT", "Plain chest X-ray"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )


def _lungs(
    film: Dataset, prediction: Prediction, loaded: LoadedBundle, algorithm: "AlgorithmIdentification"
) -> "MeasurementsAndQualitativeEvaluations":
    """The box that was judged, the share of the film that the lungs take, and the quality flags."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    left, top, right, bottom = prediction.film.box
    height, width = prediction.film.shape
    x, y = np.clip([left, right], 0, width), np.clip([top, bottom], 0, height)  # a region must lie on its image
    corners = np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])], dtype=np.float64)
    source = sr.SourceImageForRegion(film.SOPClassUID, film.SOPInstanceUID)
    raised = flags(prediction.film, loaded.bundle.manifest.pipeline)
    verdict = _code(f"verdict-{prediction.film.verdict.value}", prediction.film.verdict.value)
    seen = [
        ("verdict", "Lungs found", verdict),
        *(("quality", "Quality flag", _code(f"quality-{f.value}", f.value)) for f in raised),
    ]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(generate_uid(), "lungs"),
        referenced_region=sr.ImageRegion("POLYLINE", corners, source),
        finding_type=codes.SCT.Lung,
        algorithm_id=algorithm,
        measurements=[sr.Measurement(_code("coverage", "Share of the film"), prediction.film.coverage, codes.UCUM.NoUnits)],
        qualitative_evaluations=[sr.QualitativeEvaluation(_code(key, name), value) for key, name, value in seen],
    )


def _answer(
    task: Task, given: TaskAnswer, algorithm: "AlgorithmIdentification", image: "SourceImageForMeasurementGroup"
) -> "MeasurementsAndQualitativeEvaluations":
    """The class and the probability of each; the conformal set where there is one."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    classes = [_code(f"{task.name}-{name}", meaning) for name, meaning in zip(task.classes, task.meaning, strict=True)]
    label = _code(task.name, task.title)
    may_be = _code(f"{task.name}-candidate", "Class in the conformal set")
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(generate_uid(), task.name),
        finding_type=label,
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(_code(f"{task.name}-{name}-probability", f"Probability of {name}"), probability, codes.UCUM.NoUnits)
            for name, probability in zip(task.classes, given.probabilities, strict=True)
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(label, classes[given.index]),
            *(sr.QualitativeEvaluation(may_be, classes[i]) for i in given.candidates or ()),
        ],
        source_images=[image],
    )


def _code(value: str, meaning: str) -> "CodedConcept":
    """A code of our own, in every version the same. The standard allows 16 characters: of a longer value it is the beginning and a digest,
    as the beginning alone may be another code. The meaning is cut to 64."""
    from highdicom.sr import CodedConcept

    if len(value) > CODE_LENGTH:
        value = f"{value[:7]}-{hashlib.sha256(value.encode()).hexdigest()[:8]}"
    return CodedConcept(value, SCHEME, meaning[:64])


def _check_codes(content: "MeasurementReport") -> None:
    """Raises ProblemError where a code has two meanings, as a task's name and a class's may make it: a reader would confuse them."""
    meanings: dict[str, str] = {}
    for element in content[0].iterall():
        for concept in element.value if element.keyword.endswith("CodeSequence") else ():
            code, meaning = concept.CodeValue, concept.CodeMeaning
            if concept.CodingSchemeDesignator == SCHEME and meanings.setdefault(code, meaning) != meaning:
                raise ProblemError(
                    "not-acceptable", f"Two findings of this version have the code {code} in a report. Ask for JSON."
                )


def _uid_of(digest: str) -> UID:
    return UID(f"2.25.{int(digest[:32], 16)}")
