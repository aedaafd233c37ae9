"""View, body part and age are made code words and yes or no, whatever a hospital writes into the tags."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from cxr.dicom_tags import OTHER_PARTS, VIEWS, is_adult, is_chest, view_of
from cxr.reading import read
from tests.cxr.dicoms import dicom, phantom

P12 = phantom().astype(np.uint16) * 16


def tagged(**tags: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def coded(code: str) -> list[Dataset]:
    return [tagged(CodeValue=code)]


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": " ap "}, "AP"),
        ({"ViewPosition": "LATERAL"}, "LL"),
        ({"ViewPosition": "LL"}, "LL"),
        ({"ViewPosition": "SMITH"}, None),
        ({"ViewPosition": "", "ViewCodeSequence": coded("399348003")}, "AP"),
        ({"ViewCodeSequence": coded("399173006")}, "LL"),
        ({"ViewCodeSequence": coded("R-10232")}, "RL"),
        ({"ViewCodeSequence": coded("0")}, None),
        ({"ViewPosition": "PA", "ViewCodeSequence": coded("399173006")}, "PA"),
        ({"PatientOrientation": ["A", "F"]}, "LL"),
        ({"PatientOrientation": ["L", "F"]}, None),
        ({}, None),
    ],
)
def test_the_view_is_a_code_word_or_nothing(tags: dict[str, object], view: str | None) -> None:
    assert view_of(tagged(**tags)) == view


@pytest.mark.parametrize(
    ("part", "chest"),
    [("CHEST", True), ("chest ap portable", True), ("THORAX", True), ("RIBS", True), ("SKULL", False), ("Hand", False),
     ("T SPINE", False), ("ABDOMENPELVIS", False), ("", None), ("XR 2 VIEWS", None)],
)  # fmt: skip
def test_a_body_part_is_a_chest_another_one_or_says_nothing(part: str, chest: bool | None) -> None:
    assert is_chest(tagged(BodyPartExamined=part)) is chest


@pytest.mark.parametrize(
    ("age", "adult"),
    [("018Y", True), ("017Y", False), ("100Y", True), ("045y", True), ("215M", False), ("216M", True), ("003W", False), ("010D", False),
     ("", None), ("45", None), ("045Q", None)],
)  # fmt: skip
def test_an_age_is_above_eighteen_or_not_in_every_unit(age: str, adult: bool | None) -> None:
    dataset = Dataset()
    dataset.add_new("PatientAge", "LO", age)  # as LO, because pydicom itself complains of a malformed AS
    assert is_adult(dataset) is adult


@pytest.mark.parametrize(
    ("tags", "adult"),
    [
        ({"PatientBirthDate": "20080314", "StudyDate": "20260314"}, True),
        ({"PatientBirthDate": "20080314", "StudyDate": "20260313"}, False),
        ({"PatientBirthDate": "20080229", "StudyDate": "20260228"}, False),
        ({"PatientBirthDate": "20080229", "StudyDate": "20260301"}, True),
        ({"PatientBirthDate": "1950.01.31", "StudyDate": "20200401 "}, True),
        ({"PatientBirthDate": "20200401", "StudyDate": "20200401"}, False),
        ({"PatientAge": "045Y", "PatientBirthDate": "20190101", "StudyDate": "20200401"}, True),
        ({"PatientAge": "soon", "PatientBirthDate": "20190101", "StudyDate": "20200401"}, False),
        ({"PatientBirthDate": "20210101", "StudyDate": "20200401"}, None),
        ({"PatientBirthDate": "20190231", "StudyDate": "20200401"}, None),
        ({"PatientBirthDate": "2019", "StudyDate": "20200401"}, None),
        ({"PatientBirthDate": "20190101"}, None),
        ({"StudyDate": "20200401"}, None),
    ],
)
def test_without_an_age_the_birthday_before_the_study_tells(tags: dict[str, str], adult: bool | None) -> None:
    dataset = Dataset()
    for keyword, value in tags.items():
        dataset.add_new(keyword, "LO", value)
    assert is_adult(dataset) is adult


@given(st.text(max_size=20))
def test_no_text_reaches_the_outside(text: str) -> None:
    dataset = Dataset()
    for keyword in ("ViewPosition", "BodyPartExamined", "PatientAge", "PatientBirthDate", "StudyDate"):
        dataset.add_new(keyword, "LO", text)
    assert view_of(dataset) in (*VIEWS, None)
    assert is_chest(dataset) in (True, False, None) and is_adult(dataset) in (True, False, None)


def test_the_lists_do_not_contradict_each_other() -> None:
    assert not [part for part in OTHER_PARTS if is_chest(tagged(BodyPartExamined=part)) is not False]


def test_a_radiograph_carries_what_the_tags_say() -> None:
    radiograph = read(dicom(P12, bits=12, PatientAge="012Y", BodyPartExamined="CHEST", ViewPosition="LL"))
    assert (radiograph.view, radiograph.chest, radiograph.adult) == ("LL", True, False)
    radiograph = read(dicom(P12, bits=12, ViewPosition=None))
    assert (radiograph.view, radiograph.chest, radiograph.adult) == (None, None, None)
