"""What a data set gives: rows of (image, patient, centre, labels), checked as a whole before anything is trained on it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxr.tasks import TASKS


class CohortError(ValueError):
    """A data set that cannot be used as it lies on the disk. Lists every offending row, not only the first."""

    def __init__(self, cohort: str, problems: Sequence[str], shown: int = 20) -> None:
        self.problems = list(problems)
        more = f"\n  … and {len(problems) - shown} more" if len(problems) > shown else ""
        super().__init__(f"cohort {cohort!r} has {len(problems)} problem(s):\n  " + "\n  ".join(self.problems[:shown]) + more)


@dataclass(frozen=True)
class Row:
    """One film of a cohort.

    `id` names the film within the cohort, `patient` is the unit of splitting (the same key in two cohorts is the same person),
    `labels` maps a task name to a class index and lacks the tasks that are not known (missing is absent, never a magic number).
    `attributes` are further columns that reports may group by; no names, no dates. `further` are labels like those in `labels` that
    decide nothing about splits: readings beside the one that is asked for, such as the zones that a score is the sum of.
    """

    id: str
    image: Path
    patient: str
    centre: str
    labels: Mapping[str, int]
    attributes: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """Rows of one data set, sorted by id: nothing downstream may depend on the order of a spreadsheet."""

    name: str
    rows: tuple[Row, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(sorted({task for row in self.rows for task in row.labels}))

    def counts(self) -> dict[str, dict[str, int]]:
        """{"films": {"all": n}, "patients": {"all": n}, "centre": {centre: n}, task: {class: n}}."""
        counts = {
            "films": {"all": len(self.rows)},
            "patients": {"all": len({row.patient for row in self.rows})},
            "centre": dict(sorted(Counter(row.centre for row in self.rows).items())),
        }
        for name in self.tasks:
            seen = Counter(row.labels[name] for row in self.rows if name in row.labels)
            counts[name] = {label: seen.get(i, 0) for i, label in enumerate(TASKS[name].classes)}
        return counts


def checked(name: str, rows: Sequence[Row], problems: Sequence[str] = ()) -> Cohort:
    """Rows → Cohort; raises CohortError with all of `problems`, duplicate ids, missing files and rows without a label."""
    found = list(problems)
    for film, n in Counter(row.id for row in rows).items():
        if n > 1:
            found.append(f"{film}: listed {n} times; every film must be listed once")
    for row in rows:
        if not row.image.is_file():
            found.append(f"{row.id}: image file {row.image.name} is not in {row.image.parent}")
        if not row.labels:
            found.append(f"{row.id}: no label of any task")
    if not rows and not found:
        found.append("no rows at all")
    if found:
        raise CohortError(name, found)
    return Cohort(name, tuple(sorted(rows, key=lambda row: row.id)))
