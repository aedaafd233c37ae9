"""What a finished study answered to which film: test predictions joined with the rows of the data sets, on this machine only."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.cohort import Row
from training.evaluation.results import UnitResult
from training.protocol.study import Study, View


@dataclass(frozen=True)
class Answered:
    """One task of one experiment in one repeat of a scheme, over all its folds: rows by id, and probabilities (N, C) in their order."""

    experiment: str
    title: str
    backbone: str
    subset: str
    scheme: str
    repeat: int
    task: str
    rows: tuple[Row, ...]
    probabilities: NDArray[np.float64]

    @property
    def patients(self) -> NDArray[np.str_]:
        """(N,)"""
        return np.array([row.patient for row in self.rows])


def answered(study: Study, view: View) -> list[Answered]:
    """Every experiment × backbone × subset × scheme × repeat × task of which each fold is finished, in the order of the plan."""
    plan = study.plan(view)
    rows = {(cohort.name, row.id): row for cohort in study.cohorts for row in cohort.rows}
    tested = iter(study.results().units)  # a unit of the plan gives one result per task, in its order
    parts: dict[tuple[str, ...], list[tuple[UnitResult, list[Row]]]] = {}
    for unit in plan.units:
        for task in unit.tasks:
            result = next(tested)
            known = [rows[s.cohort, s.row] for s in unit.part("test") if task in s.labels]
            key = (unit.experiment, unit.backbone.name, unit.backbone.weights, unit.subset, unit.scheme, str(unit.repeat), task)
            parts.setdefault(key, []).append((result, known))
    return [_joined(found) for found in parts.values() if all(result.test is not None for result, _ in found)]


def _joined(parts: list[tuple[UnitResult, list[Row]]]) -> Answered:
    first = parts[0][0]
    pairs = sorted(_pairs(parts), key=lambda pair: pair[0].id)
    return Answered(
        first.experiment, first.title, first.backbone, first.subset, first.scheme, first.repeat, first.task,
        tuple(row for row, _ in pairs), np.array([answer for _, answer in pairs]),
    )  # fmt: skip


def _pairs(parts: list[tuple[UnitResult, list[Row]]]) -> Iterator[tuple[Row, NDArray[np.float64]]]:
    for result, rows in parts:
        assert result.test is not None
        yield from zip(rows, result.test.probabilities, strict=True)
