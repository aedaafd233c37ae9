"""Worker processes: parents first, the largest first, and whatever goes wrong costs only what was running."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from services.executors.process import ProcessExecutor, UnitsFailed, WorkerDied, _next_ready
from tests.training.protocol.test_plan import BASE, plan, rebuilt
from tests.training.protocol.test_unit import FEW, first_fold, on_disk, quick
from training.protocol.job import Job
from training.protocol.plan import Plan, Unit
from training.tracking import Tracking, default_uri


@pytest.fixture(scope="module")
def tracking(new_home: Callable[[], Path]) -> Tracking:
    home = new_home()
    return Tracking(default_uri(home), home)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan(quick(), on_disk(tmp_path_factory.mktemp("films")), FEW)


def jobs(units: list[Unit], planned: Plan, tracking: Tracking) -> list[Job]:
    parent = tracking.parent_run(tracking.experiment("mdmt-executor"), "group", "digest", {})
    return [Job(unit=u, stores=planned.stores, tracking_uri=tracking.uri, home=tracking.home, parent_run=parent) for u in units]


def with_training(unit: Unit, samples: int | None = None, **changes: object) -> Unit:
    films = [sample._asdict() for sample in unit.samples]
    return rebuilt(unit, training=unit.training.model_dump() | changes, samples=films[:samples] if samples else films)


def waiting(units: list[Unit]) -> dict[str, Job]:
    return {u.fingerprint: Job(unit=u, stores={}, tracking_uri="", home=Path(), parent_run="") for u in units}


def test_a_unit_waits_for_its_parents_and_the_largest_of_the_ready_ones_goes_first() -> None:
    units = [unit for unit in BASE.units if unit.fold == "cv-0"]
    jobs, unfinished, order = waiting(units), {unit.fingerprint for unit in units}, []
    experiment = {unit.fingerprint: unit.experiment for unit in units}
    while (ready := _next_ready(jobs, unfinished)) is not None:
        order.append(jobs.pop(ready).unit)
        unfinished.discard(ready)
    assert not jobs
    for i, unit in enumerate(order):
        assert {u.fingerprint for u in order[:i]}.issuperset(unit.parents), experiment
    assert order[[u.experiment for u in order].index("mdmt")] == max(order, key=lambda unit: len(unit.samples))
    shrunk = rebuilt(units[0], samples=[sample._asdict() for sample in units[0].samples[:5]])
    pair = waiting([shrunk, units[1]])
    assert _next_ready(pair, set(pair)) == units[1].fingerprint


def test_nothing_is_ready_while_a_parent_is_unfinished_and_a_parent_outside_counts_as_finished() -> None:
    child = next(unit for unit in BASE.units if unit.experiment == "ft")
    assert _next_ready(waiting([child]), {child.fingerprint, *child.parents}) is None
    assert _next_ready(waiting([child]), {child.fingerprint}) == child.fingerprint


def workers() -> list[int]:
    """Worker processes that this process has started."""
    children = [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    return [pid for pid in children if b"training.protocol.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_no_jobs_need_no_worker() -> None:
    ProcessExecutor(2).run([], lambda *_: pytest.fail("an event without a job"))


def test_a_killed_worker_is_named_with_its_unit_finished_units_are_kept_and_no_process_is_left(
    planned: Plan, tracking: Tracking
) -> None:
    units = first_fold(planned)
    short, lasting = units["stl-prognosis"], with_training(units["stl-severity"], 25, max_epochs=100_000, patience=100_000)
    events: list[tuple[str, str]] = []

    def kill_when_it_has_begun(unit: Unit, event: Mapping[str, object]) -> None:
        events.append((unit.experiment, str(event["event"])))
        if events[-1] == ("stl-severity", "epoch"):
            for pid in workers():
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(WorkerDied, match=r"exit code -9 while running stl-severity/.*/cv-0; run the recipe again"):
        ProcessExecutor(1).run(jobs([lasting, short], planned, tracking), kill_when_it_has_begun)
    assert events[:3] == [("stl-prognosis", "epoch"), ("stl-prognosis", "done"), ("stl-severity", "epoch")]
    assert set(tracking.finished()) & {short.fingerprint, lasting.fingerprint} == {short.fingerprint}
    assert workers() == []


def test_a_unit_that_fails_spares_the_others_and_its_children_are_not_run(planned: Plan, tracking: Tracking) -> None:
    units = first_fold(planned)
    broken = with_training(units["stl-severity"], learning_rate=1e30)
    child, other = rebuilt(units["ft"], parents=(broken.fingerprint,)), with_training(units["stl-prognosis"], 20)
    told: list[str] = []
    with pytest.raises(UnitsFailed) as caught:
        ProcessExecutor(1).run(jobs([child, broken, other], planned, tracking), lambda _, event: told.append(event["event"]))
    assert list(caught.value.failed) == [broken.title]
    assert "1 unit(s) failed, 1 that start from them were not run" in str(caught.value)
    assert "lower learning_rate" in str(caught.value)
    assert told == ["failed", "epoch", "done"]
    assert other.fingerprint in tracking.finished()
    assert workers() == []
