"""How units, their states and the time left follow from events; and the ring of events."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.events import EventLog
from services.trainer.progress import Progress
from tests.training.protocol.tiny import rows_only, stores_of, tiny_recipe
from training.protocol.plan import Plan, make_plan
from training.protocol.unit import Unit

COHORTS = (rows_only("aiforcovid", "prognosis", 2), rows_only("brixia", "severity", 4))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(tiny_recipe(), COHORTS, stores_of(COHORTS), None)


def progress_of(plan: Plan, slots: int = 2) -> tuple[Progress, EventLog, list[float]]:
    took: list[float] = []
    events = EventLog(100)
    progress = Progress(events, slots, dict, took.append)
    progress.units(plan, len(plan.distinct))
    return progress, events, took


def tell(progress: Progress, unit: Unit, event: str, **more: Any) -> None:
    progress.unit_event(unit, {"event": event, "unit": unit.fingerprint} | more)


def first(plan: Plan, experiment: str) -> Unit:
    return next(unit for unit in plan.units if unit.experiment == experiment)


def test_a_unit_waits_runs_and_is_done_and_what_it_took_is_told(plan: Plan) -> None:
    progress, events, took = progress_of(plan)
    total = len(plan.distinct)
    assert progress.counts() == {"waiting": total, "running": 0, "done": 0, "failed": 0, "skipped": 0, "total": total}
    unit = first(plan, "stl-prognosis")
    tell(progress, unit, "claimed", fence=1)
    assert progress.counts()["running"] == 1
    tell(progress, unit, "done", run="r")
    assert (progress.counts()["running"], progress.counts()["done"], len(took)) == (0, 1, 1)
    assert [e.data["what"] for e in events.after(0) if e.kind == "unit"] == ["claimed", "done"]


def test_what_starts_from_a_unit_that_failed_for_good_is_skipped_and_a_passing_failure_is_shown(plan: Plan) -> None:
    progress, _, _ = progress_of(plan)
    unit = first(plan, "stl-severity")
    tell(progress, unit, "claimed", fence=1)
    tell(progress, unit, "failed", kind="exception", reason="bad luck", quarantined=False)
    assert progress.counts()["waiting"] == len(plan.distinct)
    tell(progress, unit, "failed", kind="quarantined", reason="three times bad luck", quarantined=True)
    shown = progress.snapshot()
    heirs = [u for u in plan.distinct.values() if unit.fingerprint in u.parents]
    assert (shown["units"]["failed"], shown["units"]["skipped"]) == (1, len(heirs))
    assert shown["failures"] == [{"unit": unit.title, "reason": "three times bad luck", "final": True}]
    row = next(row for row in shown["experiments"] if row["experiment"] == "stl-severity")
    assert (row["failed"], row["waiting"]) == (1, row["total"] - 1)


def test_the_time_left_shrinks_with_the_work_and_never_falls_below_the_longest_chain(plan: Plan) -> None:
    one, _, _ = progress_of(plan, slots=1)
    many, _, _ = progress_of(plan, slots=1000)
    alone, together = one.snapshot()["seconds_left"], many.snapshot()["seconds_left"]
    assert alone > together > 0
    for unit in plan.distinct.values():
        tell(one, unit, "done", run="r")
    assert one.snapshot()["seconds_left"] == 0


def test_units_found_finished_are_done_from_the_start(plan: Plan) -> None:
    progress = Progress(EventLog(10), 1, dict, lambda _: None)
    assert progress.snapshot()["seconds_left"] is None
    progress._finished = lambda: {f: _run() for f in list(plan.distinct)[:2]}  # type: ignore[assignment,misc]
    progress.units(plan, len(plan.distinct) - 2)
    assert progress.counts()["done"] == 2


def _run() -> Any:
    class Data:
        params: dict[str, str] = {}  # noqa: RUF012
        metrics: dict[str, float] = {}  # noqa: RUF012
        tags: dict[str, str] = {}  # noqa: RUF012

    class Run:
        data = Data

    return Run


@given(kept=st.integers(1, 20), told=st.integers(0, 60), last=st.integers(-5, 70))
def test_a_reader_goes_on_without_a_gap_or_is_told_to_begin_anew(kept: int, told: int, last: int) -> None:
    log = EventLog(kept)
    for i in range(told):
        log.add("unit", i=i)
    position = log.position(f"{log.born}-{last}")
    if position is None:
        assert last < told - kept or last > told or last < 0
    else:
        assert [happening.number for happening in log.after(position)] == list(range(last + 1, told + 1))


@given(st.text(max_size=30))
def test_whatever_a_reader_sends_as_its_last_event_is_understood_or_ignored(text: str) -> None:
    log = EventLog(5)
    log.add("state")
    log.position(text)
    log.position(f"{log.born}-{text}")


def test_a_loss_that_is_no_number_is_null_on_the_wire() -> None:
    log = EventLog(5)
    assert 'data: {"figures": {"loss": null, "acc": 0.5}}' in log.frame(
        "unit", 1, {"figures": {"loss": float("nan"), "acc": 0.5}}
    )
