"""What a split is, how it is recognised again, and the proof that nothing leaks from one side of it to the other."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from training.data.cohort import Cohort, Row

ROLES = ("train", "val", "test")


class SplitError(ValueError):
    """A split that cannot be made as asked: names what was asked for, what these cohorts allow and what to change."""


class LeakageError(ValueError):
    """One person, or one film, on two sides of a fold. `leaks` has one line per patient or digest, naming row ids only."""

    def __init__(self, leaks: Sequence[str], shown: int = 20) -> None:
        self.leaks = list(leaks)
        more = f"\n  … and {len(leaks) - shown} more" if len(leaks) > shown else ""
        super().__init__(
            f"{len(leaks)} leak(s) between the parts of a fold; give rows of one person the same patient key and split again:\n  "
            + "\n  ".join(self.leaks[:shown])
            + more
        )


@dataclass(frozen=True)
class Fold:
    """Who trains, who validates, who tests: `roles[cohort name][row id]` is one of ROLES.

    A row that is in no role is not used in this fold (see `splits.leave_one_centre_out`).
    """

    name: str
    roles: Mapping[str, Mapping[str, str]]

    def ids(self, cohort: str, role: str) -> tuple[str, ...]:
        """Row ids of one part of one cohort, sorted."""
        return tuple(sorted(id for id, given in self.roles[cohort].items() if given == role))


def roles_digest(roles: Mapping[str, str]) -> str:
    """SHA-256 (hex) of one cohort's part of a fold: equal if and only if the same rows have the same roles.

    A network trained on this cohort alone may be shared between folds, and between schemes, that agree in this digest.
    """
    return hashlib.sha256(json.dumps(dict(roles), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def fold_digest(fold: Fold) -> str:
    """SHA-256 (hex) of all roles of a fold; its name does not count."""
    return roles_digest({cohort: roles_digest(roles) for cohort, roles in fold.roles.items()})


def assert_no_leakage(
    cohorts: Sequence[Cohort], folds: Sequence[Fold], digests: Mapping[tuple[str, str], str] | None = None
) -> None:
    """Raise LeakageError if a patient, or a film content, is on two sides of any fold, within a cohort or between cohorts.

    `digests` maps (cohort name, row id) to the digest of the film's content. A row without a digest is compared by patient only:
    a film that could not be prepared is never trained on, so its content cannot leak.
    """
    rows = {(cohort.name, row.id): row for cohort in cohorts for row in cohort.rows}
    leaks: list[str] = []
    for fold in folds:
        patients: dict[str, list[tuple[str, str]]] = defaultdict(list)
        contents: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for place, role, row in _placed(fold, rows):
            film = "/".join(place)
            patients[row.patient].append((film, role))
            if digests is not None and place in digests:
                contents[digests[place]].append((film, role))
        leaks += _straddling(f"{fold.name}: one patient in", patients)
        leaks += _straddling(f"{fold.name}: identical films in", contents)
    if leaks:
        raise LeakageError(leaks)


def _placed(fold: Fold, rows: Mapping[tuple[str, str], Row]) -> Iterator[tuple[tuple[str, str], str, Row]]:
    """((cohort, id), role, row) of a fold; a row or a role that is not known is refused, for it could not be checked."""
    for cohort, roles in fold.roles.items():
        for id, role in roles.items():
            if role not in ROLES:
                raise SplitError(f"fold {fold.name!r} gives {cohort}/{id} the role {role!r}; allowed: {', '.join(ROLES)}")
            if (cohort, id) not in rows:
                raise SplitError(f"fold {fold.name!r} has {cohort}/{id}, which is not in the cohorts given: pass all its cohorts")
            yield (cohort, id), role, rows[cohort, id]


def _straddling(what: str, groups: Mapping[str, Sequence[tuple[str, str]]]) -> list[str]:
    return [
        f"{what} " + ", ".join(f"{film} ({role})" for film, role in sorted(films))
        for _, films in sorted(groups.items())
        if len({role for _, role in films}) > 1
    ]
