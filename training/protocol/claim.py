"""What is known about the claim on a unit, as values: the answers of `claims.ClaimTable`."""

from dataclasses import dataclass
from typing import Literal

State = Literal["free", "busy", "committed", "quarantined"]


@dataclass(frozen=True)
class Claim:
    """The right to work on a unit and to commit it. `previous_run`: MLflow run that an earlier attempt recorded, to go on with."""

    unit: str
    fence: int
    owner: str
    previous_run: str | None


@dataclass(frozen=True)
class Busy:
    """Somebody holds the unit; without renewal for `seconds_left` more."""

    owner: str
    seconds_left: float


@dataclass(frozen=True)
class Committed:
    """The unit has a result: this MLflow run, which may still have to be set to FINISHED."""

    run_id: str


@dataclass(frozen=True)
class Quarantined:
    """The unit failed as often as it may; `forgive` lets it be tried again. `failures` counts all of them, of every kind."""

    reason: str
    failures: int


@dataclass(frozen=True)
class Standing:
    """How a unit stands, for views. `run_id`: the committed run, else the latest attempt's. `reasons`: latest failures, oldest first."""

    state: State
    fence: int
    owner: str | None
    seconds_left: float | None
    run_id: str | None
    failures: int
    reasons: tuple[str, ...]


class ClaimLost(RuntimeError):
    """The claim is no longer valid: somebody else took the unit over, or it was committed, given back or failed. Stop working on it."""

    def __init__(self, unit: str, fence: int, found: str) -> None:
        super().__init__(f"the claim on unit {unit[:12]} with fence {fence} is lost: {found}. Stop working on this unit")
