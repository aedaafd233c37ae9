"""Accept: application/dicom: the answer as a structured report that another program reads."""

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pydicom
import pytest
from highdicom.sr import srread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import generate_uid
from starlette.testclient import TestClient

from cxr.tasks import PROGNOSIS, Task
from serving.answers import NOTICE
from serving.structured_report import SCHEME
from tests.serving.conftest import service
from tests.serving.test_predictions import PNG, as_dicom
from tests.serving.tiny_bundle import TEMPERATURES, encoded, film, loader, write_bundle

REPORT = {"content-type": "application/dicom", "accept": "application/dicom"}


def in_a_study(data: bytes, kinds: Mapping[str, str] = MappingProxyType({}), **more: object) -> bytes:
    """The film as a hospital would send it: with a patient and a study; `more` tags, of the dictionary's kind or that of `kinds`."""
    found = pydicom.dcmread(io.BytesIO(data))
    found.PatientID, found.PatientBirthDate, found.PatientSex = "4711", "19500101", "F"
    found.StudyInstanceUID, found.SeriesInstanceUID = generate_uid(entropy_srcs=["study"]), generate_uid(entropy_srcs=["series"])
    for name, value in more.items():
        found.add_new(tag_for_keyword(name), kinds.get(name, dictionary_VR(name)), value)
    out = io.BytesIO()
    pydicom.dcmwrite(out, found, enforce_file_format=True)
    return out.getvalue()


def test_the_report_is_read_back_with_every_class_and_joins_the_films_study(client: TestClient) -> None:
    sent = in_a_study(as_dicom(film()))
    answer = client.post("/predict", content=sent, headers=REPORT)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom")
    source, report = pydicom.dcmread(io.BytesIO(sent)), srread(io.BytesIO(answer.content))
    expected = client.post("/predict", content=sent, headers=PNG).json()
    assert report.StudyInstanceUID == source.StudyInstanceUID
    assert report.PatientID == source.PatientID and report.PatientName == source.PatientName
    assert report.SOPInstanceUID != source.SOPInstanceUID and report.SeriesInstanceUID != source.SeriesInstanceUID
    assert (report.PreliminaryFlag, report.VerificationFlag, report.SeriesDescription) == ("PRELIMINARY", "UNVERIFIED", NOTICE)
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    groups = {group.tracking_identifier: group for group in report.content.get_image_measurement_groups()}
    for task in ("prognosis", "severity"):
        shares = [float(measured.value) for measured in groups[task].get_measurements()]
        np.testing.assert_allclose(shares, list(expected[task]["probabilities"].values()), rtol=1e-6)
        (evaluation,) = groups[task].get_qualitative_evaluations()
        assert evaluation.value.meaning == expected[task]["meaning"][:64]
    (region,) = report.content.get_planar_roi_measurement_groups()
    left, top, right, bottom = expected["lungs"]["box"]
    np.testing.assert_allclose(region.roi.value[[0, 2]], [(max(left, 0), max(top, 0)), (min(right, 160), min(bottom, 160))])
    assert source.SOPInstanceUID in {str(item.referenced_sop_instance_uid) for item in groups["prognosis"].source_images}


def test_only_a_dicom_film_of_a_study_gets_a_report(client: TestClient) -> None:
    for data, said in ((encoded(film()), "DICOM film only"), (as_dicom(film()), "StudyInstanceUID")):
        refused = client.post("/predict", content=data, headers=REPORT)
        assert (refused.status_code, refused.json()["type"]) == (406, "/problems/not-acceptable")
        assert said in refused.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("application/dicom, application/json;q=0.5", "application/json"),
        ("application/dicom, image/png;q=0.5, */*;q=0.1", "image/png"),
        ("application/dicom, text/html", None),
    ],
)
def test_a_film_without_a_report_is_answered_in_the_next_form_that_is_accepted(
    client: TestClient, accept: str, form: str | None
) -> None:
    for data in (encoded(film()), as_dicom(film())):
        answer = client.post("/predict", content=data, headers={**REPORT, "accept": accept})
        assert answer.headers["content-type"] == (form or "application/problem+json")
        assert answer.status_code == (200 if form else 406)
    report = client.post("/predict", content=in_a_study(as_dicom(film())), headers={**REPORT, "accept": accept})
    assert report.headers["content-type"] == "application/dicom"


def test_a_film_without_preamble_gets_a_report(client: TestClient) -> None:
    sent = in_a_study(as_dicom(film()))
    for bare in (sent[132:], sent[sent.index(b"\x08\x00\x16\x00") :]):
        answer = client.post("/predict", content=bare, headers=REPORT)
        assert answer.status_code == 200, answer.text
        assert srread(io.BytesIO(answer.content)).PatientID == "4711"


def test_a_code_has_one_meaning_and_at_most_sixteen_characters(tmp_path: Path) -> None:
    write_bundle(tmp_path, weights={"prognosis": np.array([[0, 9], [0, 9]], np.float32)})
    with service(loader(tmp_path)) as other:
        report = other.post("/predict", content=in_a_study(as_dicom(film())), headers=REPORT).content
    codes: dict[str, set[str]] = {}
    for element in pydicom.dcmread(io.BytesIO(report)).iterall():
        for concept in element.value if element.keyword.endswith("CodeSequence") else ():
            if concept.CodingSchemeDesignator == SCHEME:
                codes.setdefault(concept.CodeValue, set()).add(concept.CodeMeaning)
    assert codes["prognosis-SEVERE"] == {PROGNOSIS.meaning[1]}
    assert all(len(code) <= 16 and len(meanings) == 1 for code, meanings in codes.items()), codes
    assert {"Probability of MILD", "Probability of SEVERE"} <= {meaning for (meaning,) in codes.values()}


def test_a_version_in_whose_reports_a_code_would_have_two_meanings_is_answered_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TEMPERATURES, "coverage", 1.0)
    write_bundle(tmp_path, tasks=(Task("coverage", "Not the lungs' share of the film", ("A", "B"), ("a", "b")),))
    with service(loader(tmp_path)) as other:
        refused = other.post("/predict", content=in_a_study(as_dicom(film())), headers=REPORT)
    assert (refused.status_code, refused.json()["type"]) == (406, "/problems/not-acceptable")
    assert "have the code coverage" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("given", "field", "kept"),
    [
        ({"PatientName": "Ünsal^Gül", "SpecificCharacterSet": "ISO_IR 192"}, "PatientName", "Ünsal^Gül"),
        ({"PatientName": "Ünsal^Gül", "SpecificCharacterSet": "ISO_IR 100"}, "PatientName", "Ünsal^Gül"),
        ({"PatientBirthDate": b"soon"}, "PatientBirthDate", ""),
        ({"PatientID": b"x" * 80}, "PatientID", ""),
        ({"StudyTime": b"late"}, "StudyTime", ""),
        *(({"PatientSex": sex}, "PatientSex", "") for sex in (b"U", b"X", b"N", b"UNKNOWN", b"m")),
        *(({"PatientSex": sex}, "PatientSex", sex) for sex in ("M", "O")),
        ({"PatientBirthDate": b"19700131-19710101"}, "PatientBirthDate", ""),
        ({"StudyDate": b"20200231"}, "StudyDate", ""),
        ({"StudyTime": b"240000"}, "StudyTime", ""),
        ({"StudyDate": ["20200101", "20200102"]}, "StudyDate", ""),
        ({"PatientName": ["A^B", "C^D"]}, "PatientName", ""),
    ],
)
def test_a_value_is_copied_in_its_own_letters_and_left_empty_where_it_is_not_allowed_and_never_said(
    client: TestClient, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture, given: dict, field: str, kept: str
) -> None:
    sent = in_a_study(as_dicom(film()), **given)
    recwarn.clear()
    caplog.clear()
    answer = client.post("/predict", content=sent, headers=REPORT)
    assert answer.status_code == 200
    assert str(pydicom.dcmread(io.BytesIO(answer.content)).get(field)) == kept
    assert not recwarn.list
    assert not [line for line in caplog.messages if "soon" in line or "xxx" in line]


def test_the_dictionary_and_not_the_file_says_what_kind_of_value_a_tag_has(client: TestClient) -> None:
    for name, kind, value, kept in (
        ("PatientBirthDate", "LO", "soon", ""),
        ("PatientBirthDate", "LO", "19500101", "19500101"),
        ("PatientID", "OB", b"4711", ""),
        ("PatientID", "SQ", [pydicom.Dataset()], ""),
    ):
        sent = in_a_study(as_dicom(film()), kinds={name: kind}, **{name: value})
        answer = client.post("/predict", content=sent, headers=REPORT)
        assert answer.status_code == 200
        assert pydicom.dcmread(io.BytesIO(answer.content)).get(name) == kept


@pytest.mark.parametrize(
    ("sop_class", "said"), [("1.2.3", "SOPClassUID is in no list"), ("1.2.840.10008.1.1", "no report can repeat or refer to")]
)
def test_a_film_that_no_report_can_be_written_of_is_refused_with_a_reason_and_without_a_value_of_it(
    client: TestClient, caplog: pytest.LogCaptureFixture, sop_class: str, said: str
) -> None:
    sent = in_a_study(as_dicom(film()), SOPClassUID=sop_class)
    assert client.post("/predict", content=sent, headers=PNG).status_code == 200
    refused = client.post("/predict", content=sent, headers=REPORT)
    assert (refused.status_code, refused.json()["type"]) == (406, "/problems/not-acceptable")
    assert said in refused.json()["detail"]
    assert not [text for text in (refused.text, caplog.text) if sop_class in text or "4711" in text]


@pytest.mark.parametrize("name", ["PatientID", "AccessionNumber", "StudyID", "StudyInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("kind", [None, "ST"])  # ST may hold a backslash, and copied to another kind it would part two values
def test_an_identifier_of_several_values_is_refused_and_not_written_as_another(
    client: TestClient, name: str, kind: str | None
) -> None:
    sent = in_a_study(as_dicom(film()), kinds={name: kind} if kind else {}, **{name: "1.71\\1.72" if kind else ["1.71", "1.72"]})
    refused = client.post("/predict", content=sent, headers=REPORT)
    assert (refused.status_code, refused.json()["type"]) == (406, "/problems/not-acceptable")
    assert f"{name} has several values" in refused.json()["detail"] and "1.7" not in refused.text
