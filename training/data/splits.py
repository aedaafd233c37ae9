"""Rows → folds: cross-validation, leave-one-centre-out and refit. Pure functions of (rows, scheme, seed).

One split is made jointly over all cohorts of a protocol: a patient who is in two cohorts has one role. Parts are grouped by
patient and stratified by class and centre; validation is carved out of what is not test (the authors split by film, and the
validation part of one of their folds is the test part of another). A cohort that shares no patient with the others is split by
its own rows, k (or the number of left-out centres), seed and val_fraction alone: its fold i is the same in every scheme.
Paper: section 3.2, five-fold stratified cross-validation (CV) and leave-one-centre-out (LOCO).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from training.data.cohort import Cohort, Row
from training.data.dealing import deal, linked
from training.data.folds import ROLES, Fold, LeakageError, SplitError, assert_no_leakage, fold_digest, roles_digest

__all__ = [
    "ROLES",
    "Fold",
    "LeakageError",
    "SplitError",
    "assert_no_leakage",
    "cross_validation",
    "fold_digest",
    "leave_one_centre_out",
    "refit",
    "roles_digest",
]

Members = Mapping[str, Sequence[Row]]


def cross_validation(cohorts: Sequence[Cohort], k: int, seed: int, val_fraction: float = 0.2) -> tuple[Fold, ...]:
    """Folds "cv-0" … "cv-<k-1>": every row of every cohort is test in exactly one, stratified by class and centre.

    `val_fraction` is the share of the films outside test that validates (0.25 with k = 5 gives the paper's 60/20/20).
    Raises SplitError for k < 2 or for more folds than a class of a cohort has patients.
    """
    members = _members(cohorts, val_fraction)
    _require(cohorts, k)
    part = deal(members, [1 / k] * k, f"{seed}:folds")
    return tuple(_fold(f"cv-{i}", members, _in_part(members, part, i), seed, i, val_fraction) for i in range(k))


def leave_one_centre_out(
    cohorts: Sequence[Cohort],
    primary: str,
    centres: tuple[str, ...] | None,
    seed: int,
    val_fraction: float = 0.2,
    others: Literal["dealt", "first"] = "dealt",
) -> tuple[Fold, ...]:
    """Folds "loco-<centre>", one per centre (default: every centre) of the cohort named `primary`, in sorted order.

    Test rows of the primary cohort are the centre's rows and no others. The other cohorts are dealt into as many parts; part i is
    test in fold i, and a patient who also has rows in a left-out centre is dealt to that centre's fold (the first, if several).
    Rows of a test patient that are not test themselves (the same person at another centre, or in a cohort where its part is
    another one) have no role in that fold: in test they would blur whose films are measured, in training they would leak.

    `others="first"` gives the other cohorts the roles they have in the first fold in every fold, as the authors' code does: all but
    that first part of theirs is then never tested. Cohorts that share patients with the primary one, directly or through a third,
    cannot stay put and are dealt all the same. The roles of the primary cohort are equal under both.
    """
    if others not in ("dealt", "first"):
        raise SplitError(f"others={others!r}; allowed: 'dealt' (another part in every fold), 'first' (the same part in all)")
    members = _members(cohorts, val_fraction)
    if primary not in members:
        raise SplitError(f"no cohort {primary!r} to leave centres out of; given: {', '.join(sorted(members))}")
    left_out = _centres(primary, members[primary], centres)
    rest = {name: rows for name, rows in members.items() if name != primary}
    part: dict[str, int] = {}
    if rest:
        _require([cohort for cohort in cohorts if cohort.name != primary], len(left_out))
        home: dict[str, int] = {}
        for row in sorted(members[primary], key=lambda row: row.centre, reverse=True):
            if row.centre in left_out:
                home[row.patient] = left_out.index(row.centre)
        part = deal(rest, [1 / len(left_out)] * len(left_out), f"{seed}:folds", home)
    folds = []
    for i, centre in enumerate(left_out):
        test = {(primary, row.id) for row in members[primary] if row.centre == centre} | _in_part(rest, part, i)
        folds.append(_fold(f"loco-{centre}", members, test, seed, i, val_fraction))
    if others == "dealt":
        return tuple(folds)
    moving = next(names for names in linked(members) if primary in names)
    return tuple(
        Fold(fold.name, {name: (fold if name in moving else folds[0]).roles[name] for name in fold.roles}) for fold in folds
    )


def refit(cohorts: Sequence[Cohort], seed: int, val_fraction: float = 0.2) -> Fold:
    """The fold "refit" that the served network is trained on: every row trains or validates, none tests."""
    return _fold("refit", _members(cohorts, val_fraction), set(), seed, 0, val_fraction)


def _fold(name: str, members: Members, test: set[tuple[str, str]], seed: int, index: int, val_fraction: float) -> Fold:
    """Test rows → Fold. `index`, not `name`, salts the validation part: fold i of two schemes may then agree."""
    tested = {row.patient for cohort, rows in members.items() for row in rows if (cohort, row.id) in test}
    rest = {cohort: [row for row in rows if row.patient not in tested] for cohort, rows in members.items()}
    part = deal(rest, [1 - val_fraction, val_fraction], f"{seed}:val:{index}")
    roles = {
        cohort: {
            row.id: "test" if (cohort, row.id) in test else ROLES[part[row.patient]]
            for row in sorted(rows, key=lambda row: row.id)
            if (cohort, row.id) in test or row.patient in part
        }
        for cohort, rows in sorted(members.items())
    }
    for cohort, given in roles.items():
        for role in ROLES if test else ROLES[:2]:
            if role not in given.values():
                raise SplitError(
                    f"fold {name!r} leaves no {role} film of cohort {cohort!r} ({len(members[cohort])} films); every part "
                    "needs a patient of its own: ask for other folds or centres, or add patients"
                )
    return Fold(name, roles)


def _in_part(members: Members, part: Mapping[str, int], i: int) -> set[tuple[str, str]]:
    return {(cohort, row.id) for cohort, rows in members.items() for row in rows if part[row.patient] == i}


def _members(cohorts: Sequence[Cohort], val_fraction: float) -> dict[str, tuple[Row, ...]]:
    if not 0 < val_fraction <= 0.5:
        raise SplitError(f"val_fraction {val_fraction} is outside (0, 0.5]: early stopping and calibration need validation films")
    members = {cohort.name: cohort.rows for cohort in cohorts}
    if not cohorts or len(members) < len(cohorts):
        raise SplitError(f"{len(cohorts)} cohorts with {len(members)} different names: give at least one, each with its own name")
    return members


def _require(cohorts: Sequence[Cohort], k: int) -> None:
    if k < 2:
        raise SplitError(f"{k} fold(s) leave nothing to train on: ask for at least 2 folds (or left-out centres)")
    for cohort in cohorts:
        classes = Counter(label for _, label in {(row.patient, label) for row in cohort.rows for label in row.labels.items()})
        (task, index), patients = min(classes.items(), key=lambda item: (item[1], item[0]))
        if k > patients:
            raise SplitError(
                f"{k} folds of cohort {cohort.name!r} are too many: class {index} of task {task!r} has {patients} patient(s) "
                f"and every test part needs one; ask for at most {patients} folds (or left-out centres)"
            )


def _centres(primary: str, rows: Sequence[Row], centres: tuple[str, ...] | None) -> tuple[str, ...]:
    present = sorted({row.centre for row in rows})
    left_out = sorted(present if centres is None else set(centres))
    if unknown := sorted(set(left_out) - set(present)):
        raise SplitError(f"cohort {primary!r} has no centre {', '.join(map(repr, unknown))}; its centres: {', '.join(present)}")
    if len(present) < 2 or not left_out:
        raise SplitError(
            f"cohort {primary!r} has {len(present)} centre(s), {len(left_out)} to leave out; needed: at least 2 and 1"
        )
    return tuple(left_out)
