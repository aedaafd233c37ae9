"""What may run next: parents first, the longest way to the end first, every unit once. All executors share it; it starts no process.

A unit is waiting, taken (somebody works on it, or its outcome is on the way to MLflow), trained (units that start from it may begin),
done, failed for good, or elsewhere: another runner has it, and the claim table is asked from time to time what became of it.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence

from training.protocol.claim import Claim, ClaimLost
from training.protocol.claims import ClaimTable
from training.protocol.estimate import expected_seconds
from training.protocol.job import Event, Job
from training.protocol.unit import Unit
from training.protocol.waiting import Waiting

LOOK_SECONDS = 2.0
GIB = 1 << 30


class Schedule:
    """The jobs of one run. `finished` holds MLflow runs by fingerprint of what needs no job; `on_event` is told everything. `seconds`
    is what units are expected to take, by fingerprint and in any unit of time; default: the committed costs."""

    def __init__(
        self,
        jobs: Sequence[Job],
        finished: Mapping[str, str],
        claims: ClaimTable,
        on_event: Callable[[Unit, Event], None],
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.jobs = {job.unit.fingerprint: job for job in jobs}
        self.failed: dict[str, str] = {}
        self.done: dict[str, str] = dict(finished)
        self._taken: set[str] = set()
        self._trained: set[str] = set()
        self._elsewhere: set[str] = set()
        self._fences: dict[str, int] = {}
        self._claims, self._on_event = claims, on_event
        self._looked = self._full_until = 0.0
        self._full = False
        units = {fingerprint: job.unit for fingerprint, job in self.jobs.items()}
        self._waiting = Waiting(units, seconds or expected_seconds(units.values(), {}), self._is_ready)
        for fingerprint in self.jobs:
            self._waiting.add(fingerprint)

    def take(self, after: str | None = None) -> Job | None:
        """A unit all of whose parents are ready, chosen by `Waiting.next`; `after` is the backbone that the worker had before."""
        chosen = self._waiting.next(after, len(self._taken) - len(self._trained))
        if chosen is None or self.disk_is_full():
            return None
        self._waiting.discard(chosen)
        self._taken.add(chosen)
        self._fences.pop(chosen, None)  # that of an earlier attempt says nothing about this one
        job = self.jobs[chosen]
        known = {parent: self.done[parent] for parent in job.unit.parents if parent in self.done}
        return job.model_copy(update={"parents": known})

    def adopt(self, unit: str, fence: int | None) -> bool:
        """A worker that was found running has this unit; `fence` is that of its claim, None before it has one.

        Whether it waited here, and counts as taken from now on.
        """
        if unit not in self._waiting:
            return False
        self._waiting.discard(unit)
        self._taken.add(unit)
        if fence is not None:
            self._fences[unit] = fence
        return True

    def _is_ready(self, parent: str) -> bool:
        return parent in self.done or parent in self._trained

    def hear(self, event: Event) -> None:
        """What a worker says of a unit; of one that it no longer has, only that it is done changes anything."""
        unit, kind = event["unit"], event["event"]
        if unit in self.done or unit in self.failed:
            return
        if unit not in self._taken and kind != "done":
            pass
        elif kind == "claimed":
            self._fences[unit] = event["fence"]
        elif kind == "trained":
            self._trained.add(unit)
            self._waiting.became_ready(unit)
        elif kind == "done":
            self._leave(unit)
            self._elsewhere.discard(unit)
            self._waiting.discard(unit)
            self.done[unit] = event["run"]
            self._waiting.became_ready(unit)
        elif kind in ("busy", "lost"):
            self._leave(unit)
            self._elsewhere.add(unit)
        elif kind == "disk-full":
            self._full_until = time.monotonic() + LOOK_SECONDS
            self._leave(unit)
            self._waiting.add(unit)
        elif kind == "failed":
            self._leave(unit)
            if event["quarantined"]:
                self.failed[unit] = event["reason"]
            else:
                self._waiting.add(unit)
        self._on_event(self.jobs[unit].unit, event)

    def _leave(self, unit: str) -> None:
        self._taken.discard(unit)
        self._trained.discard(unit)

    def died(self, units: Sequence[str], kind: str, reason: str) -> None:
        """The process that had these units is gone. What was trained is safe; what was being trained has failed once more."""
        for unit in units:
            if unit not in self._taken:
                continue
            fence = self._fences.get(unit)
            if unit in self._trained or fence is None:
                if fence is not None:
                    self._claims.release(Claim(unit, fence, "", None))
                self._leave(unit)
                self._waiting.add(unit)
            else:
                try:
                    self._claims.fail_unit(unit, fence, kind, reason, self.jobs[unit].running.attempts)
                except ClaimLost as lost:  # its lease had run out before it died, and another runner was quicker
                    self.hear({"event": "lost", "unit": unit, "reason": str(lost)})
                else:
                    # Taken up once more also when the budget is spent: the worker that finds it quarantined closes its run.
                    self.hear({"event": "failed", "unit": unit, "kind": kind, "reason": reason, "quarantined": False})

    def look_elsewhere(self) -> None:
        """What became of units that other runners have. Called often, asks seldom."""
        if not self._elsewhere or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        states = self._claims.states(self._elsewhere)
        for unit in sorted(self._elsewhere):
            # Committed too: a worker finds that at once, and makes sure that the run is whole and FINISHED.
            if unit not in states or states[unit].state != "busy":
                self._elsewhere.discard(unit)
                self._waiting.add(unit)

    def disk_is_full(self) -> bool:
        """Whether to begin nothing for now."""
        if time.monotonic() < self._full_until:
            return True
        job = next(iter(self.jobs.values()), None)
        if job is None:
            return False
        free, was_full = shutil.disk_usage(job.home).free, self._full
        self._full = free < job.running.free_gib * GIB
        if self._full:
            self._full_until = time.monotonic() + LOOK_SECONDS
            if not was_full:
                event = {"event": "disk-full", "unit": job.unit.fingerprint, "free_gib": free / GIB}
                self._on_event(job.unit, event)
        return self._full

    @property
    def working(self) -> bool:
        """Whether some event is still to come, from here or from elsewhere."""
        return bool(self._taken or self._elsewhere) or (bool(self._waiting) and (self.disk_is_full() or self._can_go_on()))

    def _can_go_on(self) -> bool:
        return any(self._waiting.may_begin(unit) for unit in self._waiting)

    @property
    def skipped(self) -> list[str]:
        """Units that start from one that failed."""
        return sorted(self._waiting)
