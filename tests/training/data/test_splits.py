import hashlib
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from training.data.cohort import Cohort, Row
from training.data.cohorts import public_cxr
from training.data.splits import (
    Fold,
    SplitError,
    assert_no_leakage,
    cross_validation,
    fold_digest,
    leave_one_centre_out,
    refit,
    roles_digest,
)

REPO = Path(__file__).parents[3]
REAL = Path(os.environ.get("MDMT_REAL_CXR", REPO.parent / "shared/data/real-cxr"))
needs_real_films = pytest.mark.skipif(
    not REAL.is_dir(), reason="the public radiographs are not here: set MDMT_REAL_CXR to their folder"
)

few = settings(max_examples=30, deadline=None)
PROGNOSIS, SEVERITY = ("prognosis", 2), ("severity", 4)


def cohort(name: str, films: Sequence[tuple[str, str, int]], task: str = "prognosis") -> Cohort:
    """Cohort of (patient, centre, class) films with ids 000, 001, …"""
    rows = [Row(f"{i:03}", Path("film"), patient, centre, {task: label}) for i, (patient, centre, label) in enumerate(films)]
    return Cohort(name, tuple(rows))


@st.composite
def cohorts_of(draw: st.DrawFn, name: str, task: tuple[str, int], pool: str, mixed: bool = False) -> Cohort:
    """20-80 films of patients of 1-5 films each, keyed <pool>0, <pool>1, …; `mixed`: of several classes and centres."""
    films, patient = [], 0
    wanted = draw(st.integers(20, 80))
    while len(films) < wanted:
        label, centre = draw(st.integers(0, task[1] - 1)), draw(st.sampled_from("ABC"))
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 5]))):
            if mixed:
                label, centre = draw(st.integers(0, task[1] - 1)), draw(st.sampled_from([centre, centre, "A"]))
            films.append((f"{pool}{patient}", centre, label))
        patient += 1
    return cohort(name, films, task[0])


apart = st.tuples(cohorts_of("afc", PROGNOSIS, "p"), cohorts_of("bx", SEVERITY, "q"))
sharing = st.tuples(cohorts_of("afc", PROGNOSIS, "p", mixed=True), cohorts_of("bx", SEVERITY, "p", mixed=True))
seeds = st.integers(0, 2**32)


def folds_or_skip(make: object, *arguments: object) -> tuple[Fold, ...]:
    """Folds, unless the drawn cohort is too small for the scheme: what is refused is tested by hand below."""
    try:
        return make(*arguments)
    except SplitError:
        assume(False)
        raise


def times_tested(folds: Sequence[Fold], name: str) -> Counter[str]:
    return Counter(id for fold in folds for id in fold.ids(name, "test"))


def by_class(given: Cohort, ids: Sequence[str]) -> Counter[int]:
    rows = {row.id: row for row in given.rows}
    return Counter(label for id in ids for label in rows[id].labels.values())


@few
@given(sharing, seeds, st.integers(2, 5))
def test_cross_validation_gives_every_film_one_role_per_fold_and_one_test_in_all(
    both: tuple[Cohort, Cohort], seed: int, k: int
) -> None:
    folds = folds_or_skip(cross_validation, both, k, seed)
    assert [fold.name for fold in folds] == [f"cv-{i}" for i in range(k)]
    for one in both:
        ids = {row.id for row in one.rows}
        assert all(set(fold.roles[one.name]) == ids for fold in folds)
        assert times_tested(folds, one.name) == dict.fromkeys(ids, 1)
        assert all(fold.ids(one.name, role) for fold in folds for role in ("train", "val", "test"))


@few
@given(sharing, seeds, st.sampled_from(["cv", "loco", "refit"]))
def test_no_patient_straddles_even_between_cohorts(both: tuple[Cohort, Cohort], seed: int, scheme: str) -> None:
    makers = {
        "cv": lambda: cross_validation(both, 3, seed),
        "loco": lambda: leave_one_centre_out(both, "afc", None, seed),
        "refit": lambda: (refit(both, seed),),
    }
    for fold in folds_or_skip(makers[scheme]):
        roles = defaultdict(set)
        for one in both:
            for row in one.rows:
                if row.id in fold.roles[one.name]:
                    roles[row.patient].add(fold.roles[one.name][row.id])
        assert all(len(given) == 1 for given in roles.values())


@few
@given(sharing, seeds, st.randoms())
def test_the_order_of_rows_and_of_cohorts_does_not_matter(both: tuple[Cohort, Cohort], seed: int, random: object) -> None:
    shuffled = [replace(one, rows=tuple(random.sample(one.rows, len(one.rows)))) for one in reversed(both)]
    assert folds_or_skip(cross_validation, both, 3, seed) == cross_validation(shuffled, 3, seed)
    assert folds_or_skip(leave_one_centre_out, both, "afc", None, seed) == leave_one_centre_out(shuffled, "afc", None, seed)


@few
@given(cohorts_of("afc", PROGNOSIS, "p"), seeds, st.integers(2, 5), st.floats(0.1, 0.4))
def test_class_shares_differ_by_no_more_than_the_largest_patient(one: Cohort, seed: int, k: int, val_fraction: float) -> None:
    largest = max(Counter(row.patient for row in one.rows).values())
    folds = folds_or_skip(cross_validation, [one], k, seed, val_fraction)
    tests = [by_class(one, fold.ids("afc", "test")) for fold in folds]
    for label in (0, 1):
        assert max(test[label] for test in tests) - min(test[label] for test in tests) <= largest
    for fold in folds:
        train, val = by_class(one, fold.ids("afc", "train")), by_class(one, fold.ids("afc", "val"))
        for label in (0, 1):
            assert abs(val[label] - val_fraction * (train[label] + val[label])) <= largest


@few
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 1)), min_size=20, max_size=80), seeds, st.integers(2, 5))
def test_films_of_as_many_patients_are_spread_to_the_film_over_classes_and_parts(films: list, seed: int, k: int) -> None:
    one = cohort("afc", [(f"p{i}", centre, label) for i, (centre, label) in enumerate(films)])
    folds = folds_or_skip(cross_validation, [one], k, seed)
    tests = [fold.ids("afc", "test") for fold in folds]
    for sizes in ([len(test) for test in tests], *([by_class(one, test)[label] for test in tests] for label in (0, 1))):
        assert max(sizes) - min(sizes) <= 1
    cells = [Counter((row.centre, *row.labels.values()) for row in one.rows if row.id in test) for test in tests]
    for cell in set().union(*cells):
        assert max(count[cell] for count in cells) - min(count[cell] for count in cells) <= 1


@few
@given(apart, seeds)
def test_every_class_with_enough_patients_is_in_every_part(both: tuple[Cohort, Cohort], seed: int) -> None:
    for fold in folds_or_skip(cross_validation, both, 3, seed, 0.1):
        for one in both:
            for role in ("train", "val", "test"):
                assert set(by_class(one, fold.ids(one.name, role))) == {
                    label for row in one.rows for label in row.labels.values()
                }


@few
@given(apart, seeds)
def test_a_cohort_apart_is_split_alike_in_every_scheme_and_company(both: tuple[Cohort, Cohort], seed: int) -> None:
    afc, bx = both
    assume({row.centre for row in afc.rows} == set("ABC"))
    joint = folds_or_skip(cross_validation, both, 3, seed)
    alone = cross_validation([bx], 3, seed)
    loco = folds_or_skip(leave_one_centre_out, both, "afc", None, seed)
    for folds in (alone, loco):
        assert [roles_digest(fold.roles["bx"]) for fold in folds] == [roles_digest(fold.roles["bx"]) for fold in joint]


@few
@given(sharing, seeds)
def test_leaving_a_centre_out_tests_on_exactly_its_films(both: tuple[Cohort, Cohort], seed: int) -> None:
    afc, bx = both
    folds = folds_or_skip(leave_one_centre_out, both, "afc", None, seed)
    assert [fold.name for fold in folds] == [f"loco-{centre}" for centre in sorted({row.centre for row in afc.rows})]
    for fold in folds:
        assert set(fold.ids("afc", "test")) == {row.id for row in afc.rows if f"loco-{row.centre}" == fold.name}
    assert times_tested(folds, "bx") == {row.id: 1 for row in bx.rows}
    home = {row.patient: f"loco-{row.centre}" for row in sorted(afc.rows, key=lambda row: row.centre, reverse=True)}
    for fold in folds:
        ids = fold.ids("bx", "test")
        assert all(home.get(row.patient, fold.name) == fold.name for row in bx.rows if row.id in ids)


@few
@given(apart, seeds)
def test_others_that_stay_put_have_the_roles_of_the_first_fold_in_every_fold(both: tuple[Cohort, Cohort], seed: int) -> None:
    dealt = folds_or_skip(leave_one_centre_out, both, "afc", None, seed)
    first = leave_one_centre_out(both, "afc", None, seed, others="first")
    assert [fold.name for fold in first] == [fold.name for fold in dealt]
    assert [fold.roles["afc"] for fold in first] == [fold.roles["afc"] for fold in dealt]
    assert all(fold.roles["bx"] == dealt[0].roles["bx"] for fold in first)
    assert_no_leakage(both, first)


@few
@given(sharing, seeds)
def test_others_that_share_patients_with_the_left_out_centres_do_not_stay_put(both: tuple[Cohort, Cohort], seed: int) -> None:
    dealt = folds_or_skip(leave_one_centre_out, both, "afc", None, seed)
    first = leave_one_centre_out(both, "afc", None, seed, others="first")
    assert first == dealt
    assert_no_leakage(both, first)


def test_other_films_of_a_held_out_patient_leave_the_fold_and_return_in_the_next() -> None:
    films = [("mover", "A", 0), ("mover", "B", 0)] + [(f"p{i}", "AB"[i % 2], i // 2 % 2) for i in range(16)]
    folds = {fold.name: fold.roles["afc"] for fold in leave_one_centre_out([cohort("afc", films)], "afc", None, 1)}
    assert folds["loco-A"]["000"] == "test"
    assert "001" not in folds["loco-A"]
    assert folds["loco-B"]["001"] == "test"
    assert "000" not in folds["loco-B"]
    only = leave_one_centre_out([cohort("afc", films)], "afc", ("B",), 1)
    assert [fold.name for fold in only] == ["loco-B"]


def test_refit_tests_nothing_and_uses_everything() -> None:
    one = cohort("afc", [(f"p{i}", "A", i % 2) for i in range(50)])
    fold = refit([one], seed=3)
    assert Counter(fold.roles["afc"].values()) == {"train": 40, "val": 10}


def test_another_seed_makes_another_split() -> None:
    one = cohort("afc", [(f"p{i}", "A", i % 2) for i in range(50)])
    assert len({fold_digest(cross_validation([one], 5, seed)[0]) for seed in range(5)}) == 5


def test_the_split_does_not_depend_on_the_hash_seed_of_python() -> None:
    program = (
        "from tests.training.data.test_splits import cohort, cross_validation, fold_digest\n"
        "one = cohort('a', [(f'p{i // 2}', 'ABC'[i % 3], i % 2) for i in range(60)])\n"
        "two = cohort('b', [(f'p{i}', 'XY'[i % 2], i % 4) for i in range(60)], 'severity')\n"
        "import sys; sys.stdout.write(' '.join(fold_digest(fold) for fold in cross_validation([one, two], 5, 7)))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=REPO,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(digests) == 1


TWENTY = cohort("afc", [(f"p{i}", "AB"[i % 2], i // 2 % 2) for i in range(20)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cross_validation([TWENTY], 11, 0), "class 0 of task 'prognosis' has 10 patient.* at most 10 folds"),
        (lambda: cross_validation([TWENTY], 1, 0), "1 fold.* leave nothing to train on"),
        (lambda: cross_validation([TWENTY], 2, 0, 0.6), r"val_fraction 0.6 is outside \(0, 0.5\]"),
        (lambda: cross_validation([], 2, 0), "0 cohorts"),
        (lambda: cross_validation([TWENTY, TWENTY], 2, 0), "2 cohorts with 1 different names"),
        (lambda: leave_one_centre_out([TWENTY], "bx", None, 0), "no cohort 'bx' .* given: afc"),
        (lambda: leave_one_centre_out([TWENTY], "afc", ("A", "Z"), 0), "no centre 'Z'; its centres: A, B"),
        (lambda: leave_one_centre_out([TWENTY], "afc", (), 0), "2 centre.*, 0 to leave out"),
        (lambda: leave_one_centre_out([TWENTY, replace(TWENTY, name="bx")], "afc", ("A",), 0), "at least 2 folds"),
        (lambda: leave_one_centre_out([TWENTY], "afc", None, 0, others="second"), "others='second'; allowed: 'dealt' .*'first'"),
        (lambda: refit([cohort("afc", [("p", "A", 0), ("p", "A", 1)])], 0), "leaves no val film of cohort 'afc'"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused_with_what_can(make: object, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        make()


@needs_real_films
def test_a_joint_split_of_the_real_public_films_leaks_nothing_and_keeps_the_class_shares() -> None:
    both = [public_cxr.load(REAL, part) for part in public_cxr.PARTS]
    digests = {(one.name, row.id): hashlib.sha256(row.image.read_bytes()).hexdigest() for one in both for row in one.rows}
    folds = cross_validation(both, 5, 0)
    assert_no_leakage(both, folds, digests)
    assert_no_leakage(both, [*leave_one_centre_out(both, "public-prognosis", None, 0), refit(both, 0)], digests)
    for one in both:
        whole = by_class(one, [row.id for row in one.rows])
        for fold in folds:
            test = by_class(one, fold.ids(one.name, "test"))
            assert all(abs(test[label] - n / 5) <= 2 for label, n in whole.items())
