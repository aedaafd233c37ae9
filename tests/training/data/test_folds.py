from dataclasses import replace

import pytest

from tests.training.data.test_splits import TWENTY, cohort
from training.data.folds import Fold, LeakageError, SplitError, assert_no_leakage, fold_digest, roles_digest
from training.data.splits import cross_validation


def test_digests_see_roles_and_not_names_or_order() -> None:
    fold = Fold("cv-0", {"afc": {"a": "train", "b": "test"}, "bx": {"c": "val"}})
    same = Fold("loco-A", {"bx": {"c": "val"}, "afc": {"b": "test", "a": "train"}})
    other = Fold("cv-0", {"afc": {"a": "train", "b": "val"}, "bx": {"c": "val"}})
    assert fold_digest(fold) == fold_digest(same) != fold_digest(other)
    assert roles_digest(fold.roles["bx"]) == roles_digest(other.roles["bx"])


def leaks(*arguments: object) -> list[str]:
    with pytest.raises(LeakageError) as caught:
        assert_no_leakage(*arguments)
    return caught.value.leaks


def test_a_planted_patient_is_found_within_and_between_cohorts_by_row_id_only() -> None:
    afc = cohort("afc", [("secret", "A", 0), ("secret", "A", 0), ("p", "A", 1)])
    bx = cohort("bx", [("p", "S", 0)], "severity")
    fold = Fold("cv-0", {"afc": {"000": "train", "001": "val", "002": "train"}, "bx": {"000": "test"}})
    assert leaks([afc, bx], [fold]) == [
        "cv-0: one patient in afc/002 (train), bx/000 (test)",
        "cv-0: one patient in afc/000 (train), afc/001 (val)",
    ]


def test_a_planted_duplicate_film_is_found_within_and_between_cohorts() -> None:
    bx = replace(TWENTY, name="bx", rows=tuple(replace(row, patient=f"q{row.id}") for row in TWENTY.rows))
    folds = cross_validation([TWENTY, bx], 5, 0)
    digests = {(one.name, row.id): f"{one.name}{row.id}" for one in (TWENTY, bx) for row in one.rows}
    assert_no_leakage([TWENTY, bx], folds, digests)
    train, test = folds[0].ids("afc", "train")[0], folds[0].ids("bx", "test")[0]
    digests["afc", train] = digests["bx", test]
    found = leaks([TWENTY, bx], folds, digests)
    assert f"cv-0: identical films in afc/{train} (train), bx/{test} (test)" in found


def test_a_film_without_a_digest_is_compared_by_patient() -> None:
    assert_no_leakage([TWENTY], cross_validation([TWENTY], 5, 0), {})


@pytest.mark.parametrize(
    ("roles", "message"), [({"000": "exam"}, "role 'exam'; allowed: train"), ({"999": "val"}, "not in the cohorts")]
)
def test_roles_and_rows_that_cannot_be_checked_are_refused(roles: dict[str, str], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        assert_no_leakage([TWENTY], [Fold("cv-0", {"afc": roles})])
