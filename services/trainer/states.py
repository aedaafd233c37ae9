"""The states of a protocol and of its units, for the service and for its clients."""

from typing import Literal, get_args

State = Literal["queued", "preparing", "running", "refitting", "registering", "finished", "failed", "cancelled", "stopped"]
STATES: tuple[State, ...] = get_args(State)
OVER: frozenset[State] = frozenset({"finished", "failed", "cancelled"})

Standing = Literal["waiting", "running", "done", "failed", "skipped"]
STANDINGS: tuple[Standing, ...] = get_args(Standing)
