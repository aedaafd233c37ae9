"""One protocol while the service lives: what was asked for, how far it is, and whether it is to stop."""

import logging
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock
from typing import Any

from services.trainer.events import EventLog
from services.trainer.progress import Progress
from services.trainer.records import Order, Record, now
from services.trainer.states import OVER, State
from training.protocol.job import Event as UnitEvent
from training.protocol.plan import Plan
from training.protocol.unit import Unit

OF_STATUS: dict[str, State] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "cancelled"}
RECENT, FAILURES_KEPT = 8, 5
log = logging.getLogger(__name__)


class Protocol:
    """What the driver does is told here; it is the study's view. Routes read `answer()`."""

    def __init__(self, id: str, recipe_name: str, order: Order | None, submitted: str, events: EventLog, log_file: Path) -> None:
        self.id, self.recipe_name, self.order, self.submitted, self.events = id, recipe_name, order, submitted, events
        self.log_file = log_file
        self.state: State = "queued"
        self.note = ""
        self.waiting_for = ""
        self.forgive = False  # units that failed for good are tried again
        self.registered: dict[str, Any] | None = None
        self.before: dict[str, Any] | None = None  # what was registered when it was last finished
        self.stop, self.cancelled = Event(), False
        self.progress: Progress | None = None
        self.started: str | None = None
        self.ended: str | None = None
        self._summary: dict[str, Any] = {}
        self._recent: list[str] = []
        self._lock = Lock()

    @classmethod
    def found(cls, record: Record, events: EventLog, log_file: Path) -> "Protocol":
        """As MLflow remembers it."""
        protocol = cls(record.id, record.recipe_name, record.order, record.submitted, events, log_file)
        protocol.state = OF_STATUS.get(record.status, "queued")
        protocol.note, protocol._summary = record.note, record.summary
        protocol.registered = record.summary.get("registered")
        return protocol

    def queue_again(self, order: Order) -> None:
        """Asked for once more: after it was cancelled or has failed, or to see whether everything is still there."""
        self.order, self.submitted = order, now()
        self.before = self.registered if self.state == "finished" else None
        self.stop, self.cancelled, self.ended = Event(), False, None
        self.forgive = self.state == "failed"
        self.move("queued")

    def take_over(self, order: Order) -> bool:
        """Whether this is its order now: not from when its version is registered on, which ends with the alias."""
        with self._lock:
            taken = self.state != "registering" and self.state not in OVER
            if taken:
                self.order, self.submitted = order, now()
        if taken:
            self.say("its version may become champion" if order.promote else "its version will not be promoted")
        return taken

    def begin(self, progress: Progress) -> None:
        """The driver has it now."""
        self.progress, self.started, self.registered, self._summary = progress, now(), None, {}

    def move(self, state: State, note: str = "") -> None:
        """A change of state, told to everybody."""
        with self._lock:
            self.state, self.note, self.waiting_for = state, note, ""
        if state in OVER:
            self.ended = now()
        self.say(f"{state}{': ' if note else ''}{note}")
        self.events.add("state", state=state, note=note)

    def waits(self, reason: str) -> None:
        """Something that the work needs is away."""
        if reason != self.waiting_for:
            self.waiting_for = reason
            self.say(f"waiting: {reason}")
            self.events.add("waiting", reason=reason)

    def say(self, text: str) -> None:
        """A line for people: in the protocol's log, among the recent ones, and in the service's own log."""
        log.info("protocol %s: %s", self.id, text)
        with self._lock:
            self._recent = [*self._recent, text.splitlines()[0]][-RECENT:]
            with suppress(OSError):  # a full disk does not end the work; the line is in the service's own log
                self.log_file.parent.mkdir(parents=True, exist_ok=True)
                with self.log_file.open("a") as file:
                    file.write(f"{now()} {text}\n")

    # As a view of the study

    def stage(self, name: str, done: int, total: int) -> None:
        assert self.progress is not None
        self.waiting_for = ""
        self.progress.stage(name, done, total)

    def units(self, plan: Plan, to_run: int) -> None:
        assert self.progress is not None
        self.waiting_for = ""
        self.progress.units(plan, to_run)
        self.say(f"{len(plan.distinct)} units, {to_run} to run")

    def unit_event(self, unit: Unit, event: UnitEvent) -> None:
        assert self.progress is not None
        self.progress.unit_event(unit, event)
        if event["event"] not in ("epoch", "trained"):
            why = ": ".join(str(event[key]) for key in ("kind", "reason") if key in event)
            self.say(f"{event['event']} {unit.title}{': ' if why else ''}{why}")

    # For the routes

    def summary(self) -> dict[str, Any]:
        """What remains of it when the process is gone."""
        if self.progress is None:
            return self._summary
        shown = self.progress.snapshot()
        failures = [{**failure, "reason": failure["reason"][:300]} for failure in shown["failures"][:FAILURES_KEPT]]
        return {"units": shown["units"], "failures": failures, "registered": self.registered}

    def answer(self) -> dict[str, Any]:
        """All of it."""
        shown = self._summary if self.progress is None else self.progress.snapshot()
        return self.line() | {
            "data": str(self.order.data) if self.order else None,
            "promote": self.order.promote if self.order else None,
            "started": self.started,
            "ended": self.ended,
            "cancel_requested": self.cancelled and self.state not in OVER,
            "waiting_for": self.waiting_for or None,
            "stage": shown.get("stage"),
            "units": shown.get("units"),
            "experiments": shown.get("experiments", []),
            "seconds_left": shown.get("seconds_left") if self.state not in OVER else 0.0,
            "failures": shown.get("failures", []),
            "registered": self.registered,
            "recent": list(self._recent),
        }

    def line(self) -> dict[str, Any]:
        """It among others."""
        return {
            "id": self.id,
            "recipe": self.recipe_name,
            "state": self.state,
            "note": self.note,
            "submitted": self.submitted,
            "links": {name: f"/protocols/{self.id}{path}" for name, path in LINKS.items()},
        }


LINKS = {"self": "", "events": "/events", "logs": "/logs"}
