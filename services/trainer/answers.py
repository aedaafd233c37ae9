"""What the routes answer, as types: /docs and the clients read them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.trainer.states import Standing, State

NOTICE = "Research use only, not a medical device."


class Line(BaseModel):
    """A protocol among others. `note` says why it is as it is; `submitted` is UTC."""

    id: str
    recipe: str
    state: State
    note: str
    submitted: str
    links: dict[str, str]


class Experiment(BaseModel):
    """Units of one experiment, scheme and subset, by state."""

    experiment: str
    scheme: str
    subset: str
    total: int
    waiting: int
    running: int
    done: int
    failed: int
    skipped: int


class Failure(BaseModel):
    """`final`: the unit is not tried again by itself."""

    unit: str
    reason: str
    final: bool


class Registered(BaseModel):
    """The version that came out. `promoted`: null when that was not asked for; false with the gate's reasons in `refused`."""

    model_config = ConfigDict(extra="ignore")

    name: str
    version: int
    promoted: bool | None
    previous: int | None = None
    refused: str | None = None


class Answer(Line):
    """A protocol in full. `seconds_left` is expected from measured costs, null before the plan; `recent` are its latest events."""

    data: str | None
    promote: bool | None
    started: str | None
    ended: str | None
    executor: str
    slots: int
    cancel_requested: bool
    waiting_for: str | None = Field(description="what keeps it from going on, such as MLflow being away")
    stage: dict[str, Any] | None
    units: dict[Standing | str, int] | None
    experiments: list[Experiment]
    seconds_left: float | None
    failures: list[Failure]
    registered: Registered | None
    recent: list[str]
