"""What may run next, as a state machine: whatever happens to units, and in whatever order."""

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.journeys.under_fire.ground import sheet, unit
from training.protocol import schedule as module
from training.protocol.claim import Claim, ClaimLost, Standing
from training.protocol.job import Event, Job
from training.protocol.recipe import Running
from training.protocol.schedule import Schedule
from training.protocol.unit import Unit


class Claims:
    """The claim table as far as a schedule asks it: what other runners did is set by the test."""

    def __init__(self) -> None:
        self.standing: dict[str, Standing] = {}
        self.failures: list[tuple[str, int, str]] = []
        self.released: list[Claim] = []
        self.refuses = False

    def states(self, units: Iterable[str]) -> dict[str, Standing]:
        return {one: self.standing[one] for one in units if one in self.standing}

    def fail_unit(self, unit: str, fence: int, kind: str, reason: str, budget: int) -> bool:
        if self.refuses:
            raise ClaimLost(unit, fence, "fence 9 was given out since")
        self.failures.append((unit, fence, kind))
        return False

    def release(self, claim: Claim) -> None:
        self.released.append(claim)

    def stand(self, unit: str, state: Any) -> None:
        self.standing[unit] = Standing(state, 1, "other", 1.0, None, 0, ())


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Bench:
    """A schedule over units, with everything around it in the test's hands."""

    def __init__(self, units: Sequence[Unit], finished: Mapping[str, str] | None = None, home: Path = Path("/")) -> None:
        self.claims, self.heard = Claims(), list[tuple[str, str]]()
        running = Running(free_gib=0)
        jobs = [
            Job(unit=u, stores={}, tracking_uri="", claims_uri="", home=home, weights=home, parent_run="", running=running)
            for u in units
        ]
        self.units = {u.fingerprint: u for u in units}
        self.schedule = Schedule(jobs, finished or {}, self.claims, self.listen)  # type: ignore[arg-type]

    def listen(self, unit: Unit, event: Event) -> None:
        self.heard.append((unit.fingerprint, event["event"]))

    def say(self, unit: str, event: str, **fields: Any) -> None:
        self.schedule.hear({"event": event, "unit": unit, **fields})

    def take(self) -> str:
        job = self.schedule.take()
        assert job is not None
        return job.unit.fingerprint


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock.monotonic)
    return clock


def chain(length: int) -> list[Unit]:
    made: list[Unit] = []
    for seed in range(length):
        made.append(unit(seed, parents=(made[-1].fingerprint,) if made else ()))
    return made


def test_a_unit_waits_for_its_parents_to_be_trained_and_not_for_their_delivery() -> None:
    first, second = chain(2)
    bench = Bench([second, first])
    assert bench.take() == first.fingerprint
    assert bench.schedule.take() is None
    bench.say(first.fingerprint, "trained")
    assert bench.take() == second.fingerprint
    bench.say(second.fingerprint, "done", run="2")
    assert bench.schedule.working
    bench.say(first.fingerprint, "done", run="1")
    assert not bench.schedule.working
    assert bench.schedule.done == {first.fingerprint: "1", second.fingerprint: "2"}


def test_the_largest_of_the_ready_units_goes_first_and_knows_the_runs_of_its_parents() -> None:
    parent = unit(0)
    small, large = unit(1, films=sheet(16)), unit(2, parents=(parent.fingerprint,))
    bench = Bench([small, large], finished={parent.fingerprint: "run-of-parent"})
    job = bench.schedule.take()
    assert job is not None
    assert (job.unit.fingerprint, job.parents) == (large.fingerprint, {parent.fingerprint: "run-of-parent"})
    assert bench.take() == small.fingerprint


def test_a_unit_that_fails_is_tried_again_until_it_is_quarantined_and_what_starts_from_it_is_skipped() -> None:
    a, b, c = chain(3)
    bench = Bench([a, b, c, unit(9)])
    assert {bench.take(), bench.take()} == {a.fingerprint, unit(9).fingerprint}
    bench.say(unit(9).fingerprint, "done", run="9")
    bench.say(a.fingerprint, "failed", kind="exception", reason="no", quarantined=False)
    assert bench.take() == a.fingerprint
    bench.say(a.fingerprint, "failed", kind="quarantined", reason="never", quarantined=True)
    assert not bench.schedule.working
    assert bench.schedule.failed == {a.fingerprint: "never"}
    assert bench.schedule.skipped == sorted([b.fingerprint, c.fingerprint])


@pytest.mark.parametrize("found", ["free", "committed", "quarantined"])
def test_a_unit_that_another_runner_has_is_asked_about_and_taken_up_when_nobody_is_at_it(found: str, clock: Clock) -> None:
    (one,) = chain(1)
    bench = Bench([one])
    bench.take()
    bench.claims.stand(one.fingerprint, "busy")
    bench.say(one.fingerprint, "busy", owner="other", seconds_left=1.0)
    bench.schedule.look_elsewhere()
    assert bench.schedule.working
    assert bench.schedule.take() is None
    bench.claims.stand(one.fingerprint, found)
    bench.schedule.look_elsewhere()  # too soon to ask again
    assert bench.schedule.take() is None
    clock.now += module.LOOK_SECONDS
    bench.schedule.look_elsewhere()
    assert bench.take() == one.fingerprint


def test_a_process_that_dies_has_failed_what_it_trained_and_nothing_else() -> None:
    training, trained, unclaimed, done = (unit(seed) for seed in range(4))
    bench = Bench([training, trained, unclaimed, done])
    for _ in range(4):
        bench.take()
    for fence, one in ((3, training), (4, trained), (5, done)):
        bench.say(one.fingerprint, "claimed", fence=fence)
    bench.say(trained.fingerprint, "trained")
    bench.say(done.fingerprint, "done", run="run")
    bench.schedule.died([one.fingerprint for one in (training, trained, unclaimed, done)], "killed", "it was killed")
    assert bench.claims.failures == [(training.fingerprint, 3, "killed")]
    assert [(claim.unit, claim.fence) for claim in bench.claims.released] == [(trained.fingerprint, 4)]
    assert {bench.take() for _ in range(3)} == {training.fingerprint, trained.fingerprint, unclaimed.fingerprint}
    # The fence of the attempt before is forgotten: dying before the next claim fails nothing.
    bench.schedule.died([training.fingerprint], "killed", "again")
    assert len(bench.claims.failures) == 1


def test_a_dead_process_whose_unit_was_taken_over_before_has_lost_it_and_the_runner_lives_on() -> None:
    (one,) = chain(1)
    bench = Bench([one])
    bench.take()
    bench.say(one.fingerprint, "claimed", fence=1)
    bench.claims.refuses = True
    bench.claims.stand(one.fingerprint, "busy")
    bench.schedule.died([one.fingerprint], "killed", "frozen for long, then killed")
    assert bench.heard[-1] == (one.fingerprint, "lost")
    assert bench.schedule.working
    assert bench.schedule.take() is None


def test_a_full_disk_is_told_once_nothing_begins_and_everything_goes_on_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, tmp_path: Path
) -> None:
    class Usage:
        free = 0

    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage)
    first, second = unit(0), unit(1)
    bench = Bench([first, second], home=tmp_path)
    for job in bench.schedule.jobs.values():
        job.running = Running(free_gib=1)
    for _ in range(5):
        assert bench.schedule.take() is None
        assert bench.schedule.working
        clock.now += module.LOOK_SECONDS
    assert [kind for _, kind in bench.heard] == ["disk-full"]
    Usage.free = 2 * module.GIB
    assert bench.take() in (first.fingerprint, second.fingerprint)


def test_what_a_worker_says_of_a_unit_it_no_longer_has_changes_nothing() -> None:
    (one,) = chain(1)
    bench = Bench([one])
    bench.take()
    bench.say(one.fingerprint, "lost", reason="delivery")
    bench.schedule.look_elsewhere()
    bench.say(one.fingerprint, "lost", reason="training")
    bench.say(one.fingerprint, "trained")
    assert bench.take() == one.fingerprint
    bench.say(one.fingerprint, "done", run="1")
    bench.say(one.fingerprint, "done", run="1")
    assert not bench.schedule.working
    assert bench.heard.count((one.fingerprint, "done")) == 1


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Parents of each of some units, by index; only earlier ones."""
    count = draw(st.integers(1, 12))
    return [tuple(sorted(draw(st.sets(st.integers(0, i - 1), max_size=2)))) if i else () for i in range(count)]


EVENTS = ("trained", "trained", "done", "done", "busy", "lost", "failed", "quarantined", "disk-full", "died", "time")


@settings(max_examples=150, deadline=None)
@given(graphs(), st.integers(0, 2**32), st.sets(st.integers(0, 11), max_size=3))
def test_whatever_happens_parents_come_first_each_unit_is_done_once_and_it_always_ends(
    graph: list[tuple[int, ...]], seed: int, poison: set[int]
) -> None:
    units: list[Unit] = []
    for i, parents in enumerate(graph):
        units.append(unit(i, parents=tuple(units[p].fingerprint for p in parents), films=sheet(16)))
    names = [one.fingerprint for one in units]
    bench, dice = Bench(units), random.Random(seed)
    clock = module.time.monotonic.__self__  # type: ignore[attr-defined]
    schedule, working = bench.schedule, dict[str, bool]()  # unit in hand → whether it is trained
    ready: set[str] = set()
    steps = 0
    while schedule.working:
        steps += 1
        assert steps < 3000
        patient = steps > 300  # mishaps come to an end, else nothing would
        if (job := schedule.take()) is not None:
            name = job.unit.fingerprint
            assert name not in working
            assert name not in schedule.done
            assert all(parent in schedule.done or parent in ready for parent in job.unit.parents)
            working[name] = False
            bench.say(name, "claimed", fence=steps)
        kind = dice.choice(("trained", "done", "time") if patient else EVENTS)
        if kind == "time" or not working:
            clock.now += module.LOOK_SECONDS
            for one in names:
                bench.claims.stand(one, "free" if patient else dice.choice(["free", "busy", "committed"]))
            schedule.look_elsewhere()
            continue
        name = dice.choice(sorted(working))
        sick = names.index(name) in poison
        if kind == "died":
            schedule.died([name], "killed", "killed")
            ready.discard(name)
            del working[name]
        elif sick and kind in ("trained", "done", "quarantined"):
            bench.say(name, "failed", kind="quarantined", reason="poison", quarantined=True)
            del working[name]
        elif kind == "trained" or (kind == "done" and not working[name]):
            working[name] = True
            ready.add(name)
            bench.say(name, "trained")
        elif kind == "done":
            bench.say(name, "done", run=f"run-{name}")
            del working[name]
        elif kind != "quarantined" and not (kind == "failed" and working[name]):
            fields = {"reason": "r", "quarantined": False, "owner": "o", "free_gib": 0.0, "seconds_left": 1.0, "kind": "k"}
            bench.say(name, kind, **fields)
            ready.discard(name)
            del working[name]
    done = [name for name, kind in bench.heard if kind == "done"]
    assert len(done) == len(set(done))
    assert set(done) == schedule.done.keys()
    descendants: set[str] = set()
    for one in units:
        if any(parent in schedule.failed or parent in descendants for parent in one.parents):
            descendants.add(one.fingerprint)
    assert set(schedule.skipped) == descendants - schedule.failed.keys()
    assert {names[i] for i in poison if i < len(names)} - descendants == set(schedule.failed)
    assert set(names) == schedule.done.keys() | schedule.failed.keys() | set(schedule.skipped)
