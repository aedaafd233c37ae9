from pathlib import Path

import numpy as np
import pytest

from training.data.cohort import Row
from training.evidence.patients import by_film, by_patient, control, table


def cohort(patients: int, films: int, leak: bool, seed: int = 0) -> list[Row]:
    """Outcomes alternate over patients; with `leak` the view tells them."""
    random = np.random.default_rng(seed)
    rows = []
    for p in range(patients):
        for f in range(films):
            view = ("PA", "AP")[p % 2 if leak else int(random.integers(2))]
            rows.append(Row(f"{p:03}-{f}", Path("x.png"), f"P{p}", "HOME", {"prognosis": p % 2}, {"view": view}))
    return rows


def test_a_control_finds_an_outcome_that_the_view_gives_away_and_none_where_it_does_not() -> None:
    telling, mute = cohort(40, 2, leak=True), cohort(200, 2, leak=False)
    assert (control(telling, ["view"]).argmax(axis=1) == [row.labels["prognosis"] for row in telling]).all()
    right = (control(mute, ["view"]).argmax(axis=1) == [row.labels["prognosis"] for row in mute]).mean()
    assert right < 0.65


def test_a_value_that_is_not_known_is_a_value_of_its_own() -> None:
    rows = cohort(40, 1, leak=True)
    blank = [Row(r.id, r.image, r.patient, r.centre, r.labels, r.attributes if r.labels["prognosis"] else {}) for r in rows]
    assert (control(blank, ["view"]).argmax(axis=1) == [row.labels["prognosis"] for row in rows]).all()


def test_every_patient_counts_once_with_the_mean_of_the_films() -> None:
    rows = [*cohort(2, 1, leak=True), *(Row(f"z{i}", Path("x"), "P1", "HOME", {"prognosis": 1}, {}) for i in range(3))]
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8]])
    given = by_patient(rows, probabilities)
    assert given.truth.tolist() == [0, 1]
    np.testing.assert_allclose(given.probabilities, [[0.9, 0.1], [0.35, 0.65]])
    assert len(by_film(rows, probabilities)) == 5


def test_the_table_has_a_row_for_each_and_intervals() -> None:
    rows = cohort(30, 2, leak=True)
    text = table({"view": (rows, control(rows, ["view"]))}, by_patient)
    assert "| view | 30 | 100.0 (100.0 to 100.0) |" in text and text.startswith("| who | patients |")


@pytest.mark.parametrize("joined", [by_film, by_patient])
def test_one_outcome_alone_has_no_area(joined) -> None:  # type: ignore[no-untyped-def]
    rows = [row for row in cohort(20, 1, leak=True) if row.labels["prognosis"]]
    assert "| – |" in table({"x": (rows, np.full((len(rows), 2), 0.5))}, joined)
