"""How a protocol stands, unit by unit: written by the driver's thread (it is the study's view), read by the routes."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

from mlflow.entities import Run

from services.trainer.events import EventLog
from services.trainer.states import STANDINGS, Standing
from training.protocol.estimate import expected_seconds, measured
from training.protocol.job import Event
from training.protocol.plan import Plan
from training.protocol.unit import Unit

# What an event makes of its unit. Busy and lost: another runner has it, which is running too, only not here.
AFTER: dict[str, Standing] = {
    "claimed": "running",
    "epoch": "running",
    "trained": "running",
    "busy": "running",
    "lost": "running",
    "done": "done",
    "disk-full": "waiting",
    "files-lost": "waiting",
}


class Progress:
    """The units of one protocol. `finished` asks MLflow for all finished units; `on_seconds` is told what each unit took."""

    def __init__(
        self, events: EventLog, slots: int, finished: Callable[[], Mapping[str, Run]], on_seconds: Callable[[float], None]
    ) -> None:
        self._events, self._slots, self._finished, self._on_seconds = events, slots, finished, on_seconds
        self._lock = RLock()
        self._units: dict[str, Unit] = {}
        self._children: dict[str, set[str]] = {}
        self._standing: dict[str, Standing] = {}
        self._reasons: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._stage: dict[str, Any] | None = None

    def stage(self, name: str, done: int, total: int) -> None:
        """Something before or after the units: a stage that runs elsewhere tells no numbers (0 of 0)."""
        self._stage = {"name": name, "done": done, "total": total} if total else {"name": name}
        self._events.add("stage", **self._stage)

    def no_stage(self) -> None:
        self._stage = None

    def units(self, plan: Plan, to_run: int) -> None:
        """Units are about to run; those of a second plan (the refit) come beside those of the first."""
        runs = self._finished()
        done = runs if to_run < len(plan.distinct) else {}
        seconds = expected_seconds(plan.distinct.values(), measured(runs.values()))
        with self._lock:
            self.no_stage()
            self._seconds |= seconds
            for fingerprint, unit in plan.distinct.items():
                self._units[fingerprint] = unit
                self._standing[fingerprint] = "done" if fingerprint in done else "waiting"
            for fingerprint, children in plan.children.items():
                self._children.setdefault(fingerprint, set()).update(children)
        self._events.add("units", total=len(plan.distinct), to_run=to_run)

    def unit_event(self, unit: Unit, event: Event) -> None:
        kind, fingerprint = event["event"], unit.fingerprint
        with self._lock:
            if kind == "failed":
                self._standing[fingerprint] = "failed" if event["quarantined"] else "waiting"
                self._reasons[fingerprint] = event["reason"]
                if event["quarantined"]:
                    self._skip(fingerprint)
            elif kind in AFTER:
                self._standing[fingerprint] = AFTER[kind]
            if kind == "claimed":
                self._begun[fingerprint] = time.monotonic()
            if kind == "done":
                self._reasons.pop(fingerprint, None)
                if fingerprint in self._begun:
                    self._on_seconds(time.monotonic() - self._begun.pop(fingerprint))
        told = {key: value for key, value in event.items() if key not in ("event", "unit")}
        self._events.add("unit", what=kind, unit=unit.title, fingerprint=fingerprint, **told)

    def _skip(self, fingerprint: str) -> None:
        for child in self._children.get(fingerprint, ()):
            if self._standing.get(child) == "waiting":
                self._standing[child] = "skipped"
                self._skip(child)

    def counts(self) -> dict[str, int]:
        """Units by standing, and in all."""
        with self._lock:
            counted = Counter(self._standing.values())
        return {name: counted[name] for name in STANDINGS} | {"total": counted.total()}

    def snapshot(self) -> dict[str, Any]:
        """For the answer to a question about the protocol."""
        with self._lock:
            rows: dict[tuple[str, str, str], Counter[str]] = {}
            for fingerprint, unit in self._units.items():
                rows.setdefault((unit.experiment, unit.scheme, unit.subset), Counter())[self._standing[fingerprint]] += 1
            failures = [
                {"unit": self._units[f].title, "reason": reason, "final": self._standing[f] == "failed"}
                for f, reason in self._reasons.items()
            ]
            return {
                "stage": self._stage,
                "units": self.counts(),
                "experiments": [
                    {"experiment": e, "scheme": scheme, "subset": subset, "total": row.total()}
                    | {name: row[name] for name in STANDINGS}
                    for (e, scheme, subset), row in rows.items()
                ],
                "seconds_left": self._seconds_left(),
                "failures": failures,
            }

    def _seconds_left(self) -> float | None:
        """Expected from measured costs: the work left over the slots, and not less than the longest chain of it. None before a plan."""
        if not self._units:
            return None
        left = {f: self._seconds[f] for f, standing in self._standing.items() if standing in ("waiting", "running")}
        now = time.monotonic()
        for fingerprint, begun in self._begun.items():
            if fingerprint in left:
                left[fingerprint] = max(0.0, left[fingerprint] - (now - begun))
        ends: dict[str, float] = {}
        for fingerprint in self._units:  # parents come first in a plan
            parents = self._units[fingerprint].parents
            ends[fingerprint] = left.get(fingerprint, 0.0) + max((ends.get(p, 0.0) for p in parents), default=0.0)
        return round(max(sum(left.values()) / self._slots, max(ends.values())), 1)
