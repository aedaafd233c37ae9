"""A third data set and task over the films of another: same persons, same sides of every split."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr.tasks import AGE, age_group
from tests.training.data.cohorts.test_aiforcovid import HEADER, touch, write_xlsx
from training.data.cohort import Cohort, CohortError
from training.data.cohorts import age_groups, aiforcovid, brixia, published_sizes
from training.data.splits import Fold, assert_no_leakage, cross_validation, leave_one_centre_out, refit


def table(root: Path, *ages: object, header: list[str] = HEADER) -> Path:
    names = [f"P_{i}" for i in range(1, len(ages) + 1)]
    width = len(header)
    write_xlsx(root / "AIforCOVID.xlsx", header, *([n, "A", "MILD", age, 0][:width] for n, age in zip(names, ages, strict=True)))
    touch(root / "imgs", *(f"{name}.png" for name in names))
    return root


def test_the_label_is_the_age_group_and_films_without_an_age_are_no_rows(tmp_path: Path) -> None:
    cohort = age_groups.load(table(tmp_path, 49, 50, 64.9, 65, 80, None, " "), releases=(1,))
    assert [(row.id, AGE.classes[row.labels["age"]]) for row in cohort.rows] == [
        ("P_1", "under-50"), ("P_2", "50-64"), ("P_3", "50-64"), ("P_4", "65-79"), ("P_5", "80-and-over"),
    ]  # fmt: skip
    assert {row.attributes["release"] for row in cohort.rows} == {"1"}
    assert cohort.counts()["age"] == {"under-50": 1, "50-64": 2, "65-79": 1, "80-and-over": 1}


def test_every_age_that_is_none_is_listed_with_its_film(tmp_path: Path) -> None:
    with pytest.raises(CohortError) as caught:
        age_groups.load(table(tmp_path, 70, "seventy", 121, -1), releases=(1,))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["P_2", "P_3", "P_4"]
    assert "Age 'seventy' is no number of years; allowed: 0 to 120" in str(caught.value)


def test_tables_without_an_age_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"no film in .* has an age"):
        age_groups.load(table(tmp_path, 70, header=HEADER[:3]), releases=(1,))


@given(years=st.integers(0, 120))
def test_age_groups_are_the_ranges_that_the_task_tells(years: int) -> None:
    low, high = AGE.ranges[age_group(years)]
    assert low <= years <= high


@pytest.mark.parametrize("years", [-1, 121])
def test_an_age_that_nobody_has_is_refused(years: int) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.120"):
        age_group(years)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    root = tmp_path_factory.mktemp("published")
    published_sizes.write(root)
    own = root / "AIforCOVID"
    return [aiforcovid.load(own, (1,)), age_groups.load(own, (1,)), brixia.load(root / "BRIXIA", "only")]


def digests(cohorts: list[Cohort]) -> dict[tuple[str, str], str]:
    return {(one.name, row.id): hashlib.sha256(row.image.read_bytes()).hexdigest() for one in cohorts for row in one.rows}


def test_the_patients_of_both_cohorts_are_the_same_persons_with_the_same_films(three: list[Cohort]) -> None:
    prognosis, age, _ = three
    films = {row.id: (row.patient, row.centre, row.image) for row in prognosis.rows}
    assert all((row.patient, row.centre, row.image) == films[row.id] for row in age.rows)
    assert 0.9 * len(films) < len(age.rows) < len(films)


def test_a_joint_split_of_three_cohorts_gives_a_person_one_role_and_one_film_may_be_in_two_cohorts(three: list[Cohort]) -> None:
    prognosis, age, _ = three
    schemes: list[tuple[Fold, ...]] = [
        cross_validation(three, 5, 0),
        leave_one_centre_out(three, prognosis.name, None, 0),
        leave_one_centre_out(three, prognosis.name, None, 0, others="first"),
        (refit(three, 0),),
    ]
    for folds in schemes:
        assert_no_leakage(three, folds, digests(three))
        for fold in folds:
            assert fold.roles[age.name].items() <= fold.roles[prognosis.name].items()
            assert all(set(fold.roles[one.name]) == {row.id for row in one.rows} for one in three)


def test_leaving_a_centre_out_tests_age_on_that_centre_alone_even_where_other_cohorts_stay_put(three: list[Cohort]) -> None:
    prognosis, age, severity = three
    centre = {row.id: row.centre for row in age.rows}
    folds = leave_one_centre_out(three, prognosis.name, None, 0, others="first")
    for fold in folds:
        assert {f"loco-{centre[id]}" for id in fold.ids(age.name, "test")} == {fold.name}
        assert fold.roles[severity.name] == folds[0].roles[severity.name]
