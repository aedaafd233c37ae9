"""A run without work: the real schedule, and workers that are busy for as long as a table says."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.training.protocol.test_schedule import Claims
from training.protocol.job import Job
from training.protocol.recipe import Running
from training.protocol.schedule import Schedule
from training.protocol.unit import Unit


@dataclass(frozen=True)
class Simulated:
    """`makespan` in the units of the durations; `order`: units as they began; `changes`: how often a worker changed its backbone."""

    makespan: float
    order: tuple[str, ...]
    changes: int


def simulate(
    units: Sequence[Unit], durations: Mapping[str, float], slots: int, expected: Mapping[str, float] | None = None
) -> Simulated:
    """Work off the units on so many slots. `expected` is what the schedule believes; default: the truth."""
    running, nowhere = Running(free_gib=0), Path("/")
    jobs = [
        Job(unit=u, stores={}, tracking_uri="", claims_uri="", home=nowhere, weights=nowhere, parent_run="", running=running)
        for u in units
    ]
    schedule = Schedule(jobs, {}, Claims(), lambda *_: None, durations if expected is None else expected)  # type: ignore[arg-type]
    now, changes, ends, order = 0.0, 0, list[tuple[float, int, str]](), list[str]()
    idle: list[int] = list(range(slots))
    before: list[str | None] = [None] * slots
    while schedule.working:
        while idle and (job := schedule.take(before[idle[-1]])):
            worker, unit = idle.pop(), job.unit
            changes += before[worker] is not None and before[worker] != unit.backbone.name
            before[worker] = unit.backbone.name
            order.append(unit.fingerprint)
            heapq.heappush(ends, (now + durations[unit.fingerprint], worker, unit.fingerprint))
        now, worker, fingerprint = heapq.heappop(ends)
        idle.append(worker)
        schedule.hear({"event": "trained", "unit": fingerprint})
        schedule.hear({"event": "done", "unit": fingerprint, "run": fingerprint})
    assert not schedule.skipped
    return Simulated(now, tuple(order), changes)


def bound(units: Sequence[Unit], durations: Mapping[str, float], slots: int) -> float:
    """No order whatever can end before: all work spread evenly, the longest chain, and where units are few for the slots, two or more
    of the longest on one slot (of the k·slots + 1 longest, some slot has k + 1)."""
    ends: dict[str, float] = {}
    left = list(units)
    while left:
        waiting = [u for u in left if any(p not in ends for p in u.parents)]
        for unit in left:
            if all(parent in ends for parent in unit.parents):
                ends[unit.fingerprint] = durations[unit.fingerprint] + max((ends[p] for p in unit.parents), default=0.0)
        left = [u for u in waiting if u.fingerprint not in ends]
    longest = sorted((durations[u.fingerprint] for u in units), reverse=True)
    together = [sum(longest[k * slots - i] for i in range(k + 1)) for k in range(1, (len(longest) - 1) // slots + 1)]
    return max(sum(longest) / slots, max(ends.values()), *together)


def longest_first(durations: Sequence[float], slots: int) -> float:
    """Makespan of plain LPT: independent units, longest first, each to the slot that is free first (Graham, 1969)."""
    free = [0.0] * slots
    for duration in sorted(durations, reverse=True):
        heapq.heapreplace(free, free[0] + duration)
    return max(free)
