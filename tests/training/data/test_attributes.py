"""What films are grouped by, and that no age gets further than its band."""

from pathlib import Path

import pytest

from training.data.attributes import UNREADABLE, age_band, groups_of, years
from training.data.cohort import Row


def groups(**attributes: str) -> dict[str, str]:
    return groups_of(Row("film", Path("film.png"), "patient", "A", {"prognosis": 0}, attributes))


@pytest.mark.parametrize(
    ("age", "band"),
    [("0", "under-50"), ("49.9", "under-50"), ("50", "50-64"), ("64", "50-64"), ("65", "65-79"), ("79", "65-79"),
     ("80", "80-and-over"), ("120", "80-and-over")],
)  # fmt: skip
def test_ages_are_coarse_bands(age: str, band: str) -> None:
    assert age_band(age) == band
    assert groups(age=age)["age group"] == band


@pytest.mark.parametrize("age", ["121", "-3", "old", "", "6,5"])
def test_what_is_no_age_is_refused_and_allowed_values_are_named(age: str) -> None:
    with pytest.raises(ValueError, match="allowed: 0 to 120"):
        years(age)


def test_a_row_has_the_groups_that_its_data_set_tells_and_no_others() -> None:
    assert groups() == {"centre": "A"}
    told = {"view": "AP", "sex": "F", "phase": "before_icu", "age_group": "50-64"}
    assert groups(**told, zones="012345", confidence="high", finding="x") == {
        "centre": "A", "view": "AP", "sex": "F", "phase": "before_icu", "age group": "50-64",
    }  # fmt: skip


def test_bands_of_five_years_are_read_and_an_age_that_cannot_be_read_is_a_group_of_its_own() -> None:
    assert [groups(agebin=text)["age group"] for text in ("9", "10", "13", "16")] == [
        "under-50", "50-64", "65-79", "80-and-over",
    ]  # fmt: skip
    assert groups(agebin="60-64")["age group"] == groups(age="unknown")["age group"] == UNREADABLE
