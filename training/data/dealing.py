"""Patients dealt into parts, whole and stratified: the one algorithm below every split.

Greedy, largest patients first. A patient goes to the part in which its classes are shortest against the part's share (the rule
of Webster's method: a class of single-label patients misses its share by at most the films of the largest patient); among equals
to the part that is short of its centre × class cell, then of films. Where the last patients of a class are just enough for the
parts that still lack it, they go there. Patients of equal size and cell come in the order of a SHA-256 rank: neither the order
of rows nor Python's hash seed matters.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from training.data.cohort import Row

Stratum = tuple[str, ...]


@dataclass
class _Patient:
    """Films of one person per stratum, at three levels of detail; every stratum starts with the name of its cohort."""

    key: str
    classes: Counter[Stratum] = field(default_factory=Counter)  # (cohort, task, class)
    cells: Counter[Stratum] = field(default_factory=Counter)  # (cohort, centre, its labels)
    films: Counter[Stratum] = field(default_factory=Counter)  # (cohort,)

    def add(self, cohort: str, row: Row) -> None:
        labels = [f"{task}={label}" for task, label in sorted(row.labels.items())]
        self.classes.update((cohort, label) for label in labels)
        self.cells[cohort, row.centre, *labels] += 1
        self.films[(cohort,)] += 1

    @property
    def levels(self) -> tuple[Counter[Stratum], ...]:
        return self.classes, self.cells, self.films


def deal(
    members: Mapping[str, Sequence[Row]], shares: Sequence[float], salt: str, fixed: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Patient → index of its part, for all rows of `members` (cohort name → rows).

    `shares` are the parts' fractions of the films (sum 1). `fixed` patients are in their part beforehand and the rest is dealt
    around them. Cohorts that share no patient, directly or through a third, are dealt apart: neither depends on the other.
    """
    dealt: dict[str, int] = {}
    for names in linked(members):
        patients: dict[str, _Patient] = {}
        for name in names:
            for row in members[name]:
                patients.setdefault(row.patient, _Patient(row.patient)).add(name, row)
        dealt |= _deal(list(patients.values()), shares, salt, fixed or {})
    return dealt


def _rank(salt: str, patient: str) -> str:
    """The place of a patient in the shuffle: the same in every cohort, process and machine."""
    return hashlib.sha256(f"{salt}\0{patient}".encode()).hexdigest()


def linked(members: Mapping[str, Sequence[Row]]) -> list[list[str]]:
    """Names of cohorts, grouped by patients they share directly or through a third."""
    groups: list[tuple[set[str], set[str]]] = []
    for name in sorted(members):
        names, patients = {name}, {row.patient for row in members[name]}
        for group in [group for group in groups if not group[1].isdisjoint(patients)]:
            groups.remove(group)
            names |= group[0]
            patients |= group[1]
        groups.append((names, patients))
    return [sorted(names) for names, _ in groups]


def _deal(patients: Sequence[_Patient], shares: Sequence[float], salt: str, fixed: Mapping[str, int]) -> dict[str, int]:
    totals = _sum(strata for patient in patients for strata in patient.levels)
    loads: list[Counter[Stratum]] = [Counter() for _ in shares]
    waiting = _sum(dict.fromkeys(patient.classes, 1) for patient in patients)  # patients of each class not yet dealt
    dealt: dict[str, int] = {}

    def shortage(patient: _Patient, part: int) -> tuple[float, ...]:
        """Smallest where the patient belongs: classes that only it can still bring, then each level's load against its share."""
        urgent = [s for s in patient.classes if not loads[part][s] and waiting[s] <= sum(not load[s] for load in loads)]
        fullness = (
            sum(n * (loads[part][s] + n / 2) / (shares[part] * totals[s]) for s, n in sorted(strata.items()))
            for strata in patient.levels
        )
        return (-len(urgent), *fullness, part)

    def order(patient: _Patient) -> tuple[object, ...]:
        # Within a size, one cell after the other: dealing in turns then spreads each cell evenly too.
        rarest = min((totals[stratum], stratum) for stratum in patient.classes)
        return (patient.key not in fixed, -patient.films.total(), rarest, sorted(patient.cells), _rank(salt, patient.key))

    for patient in sorted(patients, key=order):
        part = fixed[patient.key] if patient.key in fixed else min(range(len(shares)), key=lambda i: shortage(patient, i))
        dealt[patient.key] = part
        waiting.subtract(dict.fromkeys(patient.classes, 1))
        for strata in patient.levels:
            loads[part].update(strata)
    return dealt


def _sum(counts: Iterable[Mapping[Stratum, int]]) -> Counter[Stratum]:
    total: Counter[Stratum] = Counter()
    for count in counts:
        total.update(count)
    return total
