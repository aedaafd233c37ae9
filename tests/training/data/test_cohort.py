"""A data set is checked as a whole, and told everything that is wrong with it at once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.cohort import Cohort, CohortError, Row, checked

HERE = Path(__file__)


def row(film: str, image: Path = HERE, patient: str = "p", centre: str = "A", **labels: int) -> Row:
    return Row(film, image, patient, centre, labels or {"prognosis": 0})


@given(order=st.permutations([f"{i:02}" for i in range(12)]))
def test_the_order_of_a_spreadsheet_does_not_matter(order: list[str]) -> None:
    assert [one.id for one in checked("c", [row(film) for film in order]).rows] == sorted(order)


def test_every_problem_is_listed_not_only_the_first() -> None:
    bad = [row("twice"), row("twice"), row("gone", HERE.parent / "gone.png"), Row("bare", HERE, "p", "A", {})]
    with pytest.raises(CohortError) as caught:
        checked("c", bad, ["row 7: unreadable"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["row 7", "twice", "gone", "bare"]
    assert "cohort 'c' has 4 problem(s)" in str(caught.value) and "listed 2 times" in str(caught.value)


def test_a_long_list_is_cut_for_reading_and_kept_for_reports() -> None:
    with pytest.raises(CohortError, match="… and 5 more") as caught:
        checked("c", [], [f"row {i}" for i in range(25)])
    assert len(caught.value.problems) == 25


def test_no_rows_are_a_problem_of_their_own() -> None:
    with pytest.raises(CohortError, match="no rows at all"):
        checked("c", [])


def test_counts_are_of_films_patients_centres_and_classes_with_zeros_shown() -> None:
    rows = [
        row("1", patient="p", prognosis=1),
        row("2", patient="p", prognosis=1, severity=3),
        row("3", patient="q", centre="B", severity=0),
    ]
    cohort = Cohort("c", tuple(rows))
    assert cohort.tasks == ("prognosis", "severity")
    assert cohort.counts() == {
        "films": {"all": 3},
        "patients": {"all": 2},
        "centre": {"A": 2, "B": 1},
        "prognosis": {"MILD": 0, "SEVERE": 2},
        "severity": {"0": 1, "1": 0, "2": 0, "3": 1},
    }
