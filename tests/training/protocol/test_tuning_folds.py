"""Inner folds: everything that trains or validates in a fold validates once, and nothing of its test films is there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.protocol.tiny import rows_only, stores_of, tiny_recipe
from training.data.cohort import Cohort
from training.data.folds import LeakageError, SplitError
from training.protocol.plan import Division
from training.protocol.recipe import Recipe, Scheme, Subset
from training.protocol.tuning_folds import SCHEME, TuningError, inner_folds, outer_folds

LOCO = Scheme(kind="loco", primary="aiforcovid")
RELEASES = tuple(Subset(name=f"to-{n}", keep={"aiforcovid": {"release": tuple("123"[:n])}}) for n in (2, 3))
COHORTS = (rows_only("aiforcovid", "prognosis", 2, 36), rows_only("brixia", "severity", 4, 36))
# Twelve persons of BRIXIA are in AIforCOVID too: in LOCO some of their films have no role at all.
SHARED = (COHORTS[0], Cohort("brixia", COHORTS[1].rows[21:] + rows_only("brixia", "severity", 4, 12, "aiforcovid").rows))


def recipe(**changes: object) -> Recipe:
    return tiny_recipe(**{"schemes": (Scheme(kind="cv", folds=2), LOCO), "subsets": RELEASES, **changes})


def outer(place: str, cohorts: tuple[Cohort, ...] = COHORTS, **changes: object) -> Division:
    return outer_folds(recipe(**changes), cohorts, stores_of(cohorts), [place])[0]


def films(division: Division, *roles: str) -> set[tuple[str, str]]:
    return {(s.cohort, s.row) for s in division.sheet(("prognosis", "severity")).samples if s.role in roles}


def persons(division: Division, *roles: str) -> set[int]:
    return {s.patient for s in division.sheet(("prognosis", "severity")).samples if s.role in roles}


@pytest.mark.parametrize("cohorts", [COHORTS, SHARED], ids=["persons apart", "persons shared"])
@pytest.mark.parametrize("place", ["to-3/cv-0", "to-2/cv-1", "to-3/loco-A", "to-3/loco-B", "to-3/refit"])
def test_every_film_outside_the_test_part_validates_once_and_no_test_film_or_person_is_there(
    place: str, cohorts: tuple[Cohort, ...]
) -> None:
    fold = outer(place, cohorts)
    inner = inner_folds(fold, 3, 0)
    assert [d.fold.name for d in inner] == [f"{place.split('/')[1]}-inner-{i}" for i in range(3)]
    validating = [film for division in inner for film in films(division, "val")]
    assert len(validating) == len(set(validating)) and set(validating) == films(fold, "train", "val")
    for division in inner:
        assert division.scheme == SCHEME and not films(division, "test")
        assert films(division, "train") | films(division, "val") == films(fold, "train", "val")
        assert persons(division, "train").isdisjoint(persons(division, "val"))
        assert persons(division, "train", "val").isdisjoint(persons(fold, "test"))
        if place.endswith("loco-A"):
            at_a = {("aiforcovid", row.id) for row in cohorts[0].rows if row.centre == "A"}
            assert at_a and at_a.isdisjoint(films(division, "train", "val"))


@settings(max_examples=15, deadline=None)
@given(k=st.integers(2, 4), seed=st.integers(0, 100))
def test_every_inner_part_has_every_class(k: int, seed: int) -> None:
    for division in inner_folds(outer("to-3/cv-0"), k, seed):
        for role in ("train", "val"):
            labels = {label for s in division.sheet(("prognosis", "severity")).parts[role] for label in s.labels.items()}
            assert labels == {
                ("prognosis", 0),
                ("prognosis", 1),
                ("severity", 0),
                ("severity", 1),
                ("severity", 2),
                ("severity", 3),
            }


def test_more_inner_folds_than_patients_of_a_class_are_refused() -> None:
    with pytest.raises(SplitError, match="ask for at most"):
        inner_folds(outer("to-3/cv-0"), 12, 0)


def test_one_film_under_two_names_on_both_sides_is_refused() -> None:
    fold = outer("to-3/cv-0")
    seen = sorted(row for cohort, row in films(fold, "train", "val") if cohort == "aiforcovid" and row.endswith("-0"))
    twins = stores_of(COHORTS, **{f"aiforcovid_{row}": "the same" for row in seen})
    same = {name: store.usable for name, store in twins.items()}
    with pytest.raises(LeakageError, match="identical films"):
        inner_folds(Division(fold.subset, fold.scheme, 0, fold.fold, fold.cohorts, same, fold.patients), 2, 0)


def test_a_film_that_is_tested_under_another_name_is_refused() -> None:
    fold = outer("to-3/cv-0")
    tested = next(row for cohort, row in sorted(films(fold, "test")) if cohort == "aiforcovid")
    seen = next(row for cohort, row in sorted(films(fold, "train")) if cohort == "aiforcovid")
    twins = stores_of(COHORTS, **{f"aiforcovid_{row}": "the same" for row in (tested, seen)})
    same = {name: store.usable for name, store in twins.items()}
    with pytest.raises(LeakageError, match="seen by the search"):
        inner_folds(Division(fold.subset, fold.scheme, 0, fold.fold, fold.cohorts, same, fold.patients), 2, 0)


def test_the_folds_of_the_first_scheme_on_the_last_subset_are_searched_unless_others_are_named() -> None:
    def places(*wanted: str) -> list[str]:
        return [d.place for d in outer_folds(recipe(), COHORTS, None, wanted)]

    assert places() == ["to-3/cv-0", "to-3/cv-1"]
    assert places("to-3/refit", "to-2/loco-C", "to-3/refit") == ["to-3/refit", "to-2/loco-C"]
    with pytest.raises(TuningError, match="no fold all/cv-0 in recipe 'tiny'; its folds: to-2/cv-0, to-2/cv-1, to-2/loco-A"):
        places("all/cv-0")


@pytest.mark.parametrize("schemes", [(Scheme(kind="cv", folds=2, repeats=2),)])
def test_a_place_that_names_several_folds_is_refused_for_each_tests_what_another_has_seen(schemes: tuple[Scheme, ...]) -> None:
    with pytest.raises(TuningError, match="names 2 folds with other test films each"):
        outer("to-3/cv-0", schemes=schemes)
