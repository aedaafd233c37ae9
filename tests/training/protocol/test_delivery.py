"""From a unit's desk to MLflow: in the order that makes done mean done, through outages, once, and by whoever holds the claim."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from tests.journeys.under_fire.ground import unit
from tests.training.protocol.delivery_bench import Bench
from training import runs
from training.protocol import delivery as module
from training.protocol.claim import Committed, Quarantined
from training.protocol.delivery import end_quarantined, settle
from training.protocol.desk import WEIGHTS, Desk
from training.protocol.unit import Unit
from training.tracking import TrackingError

AWAY = MlflowException("away", TEMPORARILY_UNAVAILABLE)
REFUSED = MlflowException("not with us", INVALID_PARAMETER_VALUE)


@pytest.fixture(scope="module")
def bench(new_home: Callable[[], Path]) -> Bench:
    return Bench(new_home())


@pytest.fixture(autouse=True)
def fresh(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pause longer than a blink, and nothing left of the test before."""
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.02)
    bench.said.clear()
    bench.shaky.calls.clear()
    yield
    bench.shaky.failing, bench.shaky.after = {}, {}


NUMBERS = iter(range(1000, 2000))


@pytest.fixture
def one() -> Unit:
    return unit(next(NUMBERS))


def test_a_unit_is_finished_last_of_all_and_its_desk_is_cleared(bench: Bench, one: Unit) -> None:
    bench.deliver(one)
    run_id = bench.delivered(one)
    assert bench.said == [{"event": "done", "run": run_id}]
    assert not Desk(bench.home, one.fingerprint).folder.exists()
    assert bench.shaky.calls[-1] == "set_terminated"
    tags = bench.real.get_run(run_id).data.tags
    assert (tags["mdmt.fingerprint"], tags["mlflow.parentRunId"], tags["mdmt.start"]) == (
        one.fingerprint,
        bench.parent,
        "scratch",
    )
    assert json.loads(tags[runs.FILES]) == {WEIGHTS: len(b"weights of ") + 64}


@pytest.mark.parametrize("name", ["create_run", "get_run", "log_batch", "set_terminated"])
@pytest.mark.parametrize("lost", ["call", "answer"])
def test_a_server_that_fails_at_any_step_is_tried_again_and_everything_is_there_once(
    name: str, lost: str, bench: Bench, one: Unit
) -> None:
    errors: list[Exception] = [AWAY, ConnectionError("reset"), OSError(28, "No space left on device")]
    (bench.shaky.failing if lost == "call" else bench.shaky.after)[name] = errors
    bench.deliver(one)
    bench.delivered(one)
    assert "RUNNING" not in bench.runs(one).values()
    assert [said["event"] for said in bench.said if said["event"] != "done"] == ["tracking-away", "tracking-back"]


def test_a_refusal_for_good_fails_the_unit_once_and_keeps_its_desk(bench: Bench, one: Unit) -> None:
    bench.shaky.failing["create_run"] = [REFUSED]
    bench.deliver(one)
    (said,) = bench.said
    assert (said["event"], said["kind"], said["quarantined"]) == ("failed", "exception", False)
    assert "not with us" in said["reason"]
    assert Desk(bench.home, one.fingerprint).outcome is not None
    bench.deliver(one)  # the next attempt finds the outcome on the desk
    bench.delivered(one)


def test_an_attempt_cut_off_before_its_commit_is_gone_on_with_in_the_same_run(bench: Bench, one: Unit) -> None:
    claim = bench.claim(one)
    cut = bench.begin(one, bench.desk(one, epochs=1, outcome=False), claim)
    until(lambda: bench.shaky.calls.count("log_batch") == 2)  # parameters, first epoch
    cut.abandon()
    cut.wait()
    bench.claims.release(claim)
    (run_id,) = bench.runs(one)
    assert bench.runs(one) == {run_id: "RUNNING"}
    bench.deliver(one)
    assert bench.delivered(one) == run_id
    assert len(bench.runs(one)) == 1


def test_a_run_that_was_made_and_never_written_down_is_ended_by_the_next_attempt(bench: Bench, one: Unit) -> None:
    claim = bench.claim(one)
    experiment = bench.real.get_run(bench.parent).info.experiment_id
    orphan = runs.open_run(bench.real, experiment, "cut off here", one.tags, {})
    bench.claims.release(claim)
    bench.deliver(one)
    assert bench.delivered(one) != orphan
    assert bench.runs(one)[orphan] == "KILLED"


def test_a_crash_between_commit_and_finished_is_settled_by_whoever_comes_next(bench: Bench, one: Unit) -> None:
    bench.shaky.failing["set_terminated"] = [REFUSED]  # as if cut there: the commit stands, FINISHED does not
    bench.deliver(one)
    (run_id,) = bench.runs(one)
    assert bench.runs(one) == {run_id: "RUNNING"}
    assert bench.claims.acquire(one.fingerprint, "next") == Committed(run_id)
    assert settle(one, run_id, bench.claims, bench.tracking)
    bench.delivered(one)
    assert settle(one, run_id, bench.claims, bench.tracking)  # twice does no harm


def test_a_commit_whose_database_answer_was_an_error_is_not_reported_as_a_failure(bench: Bench, one: Unit) -> None:
    bench.shaky.failing["set_terminated"] = [REFUSED]
    bench.deliver(one)
    assert [said["event"] for said in bench.said] == ["lost"]  # somebody settles it; it has not failed
    assert not bench.claims.states([one.fingerprint])[one.fingerprint].failures


def test_a_run_is_killed_while_its_unit_is_given_back_and_the_next_attempt_goes_on_in_it(bench: Bench, one: Unit) -> None:
    desk, claim = bench.desk(one, outcome=False), bench.claim(one)
    delivery = bench.begin(one, desk, claim)
    until_opened(desk)
    delivery.give_back()
    bench.claims.release(claim)
    assert list(bench.runs(one).values()) == ["KILLED"]
    run_id = desk.run_id
    bench.deliver(one)
    assert bench.delivered(one) == run_id


def test_with_mlflow_away_a_unit_is_given_back_in_time(bench: Bench, one: Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GIVE_BACK", 0.2)
    desk = bench.desk(one, outcome=False)
    delivery = bench.begin(one, desk, bench.claim(one))
    until_opened(desk)
    hung = threading.Event()
    monkeypatch.setattr(runs, "close", lambda *_: hung.wait(30))
    begun = time.monotonic()
    delivery.give_back()
    assert time.monotonic() - begun < 2
    hung.set()
    delivery.wait()
    assert list(bench.runs(one).values()) == ["RUNNING"]


def until_opened(desk: Desk) -> None:
    give_up = time.monotonic() + 10
    while desk.run_id is None:
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.parametrize("what", ["file", "run"])
def test_a_committed_run_that_cannot_be_read_is_given_back_and_is_no_longer_finished(what: str, bench: Bench, one: Unit) -> None:
    bench.deliver(one)
    run_id = bench.delivered(one)
    if what == "file":
        (Path(runs.files_of(bench.real, bench.real.get_run(run_id)).artifact_dir) / WEIGHTS).unlink()
    else:
        bench.real.delete_run(run_id)
    assert not settle(one, run_id, bench.claims, bench.tracking)
    assert "FINISHED" not in bench.runs(one).values()
    bench.deliver(one)
    assert bench.delivered(one) != run_id


def test_settling_waits_for_a_server_that_is_away(bench: Bench, one: Unit) -> None:
    bench.deliver(one)
    run_id = bench.delivered(one)
    bench.shaky.failing["get_run"] = [AWAY]
    with pytest.raises(TrackingError, match="does not answer"):
        settle(one, run_id, bench.claims, bench.tracking)
    assert bench.claims.acquire(one.fingerprint, "anybody") == Committed(run_id)


def test_whoever_was_taken_over_before_the_run_was_made_leaves_none_open(bench: Bench, one: Unit) -> None:
    stale = bench.claim(one)
    bench.claims.release(stale)
    held = bench.claim(one)
    delivery = bench.begin(one, bench.desk(one, outcome=False), stale)
    delivery.wait()
    assert [said["event"] for said in bench.said] == ["lost"]
    assert list(bench.runs(one).values()) == ["KILLED"]
    assert Desk(bench.home, one.fingerprint).run_id is None
    bench.claims.release(held)


def test_a_zombie_cannot_commit(bench: Bench, one: Unit) -> None:
    stale = bench.claim(one)
    delivery = bench.begin(one, bench.desk(one), stale)
    until(lambda: bool(bench.runs(one)) and Desk(bench.home, one.fingerprint).run_id is not None)
    bench.claims.release(stale)
    held = bench.claim(one)
    delivery.finish()
    delivery.wait()
    assert [said["event"] for said in bench.said] == ["lost"]
    assert "FINISHED" not in bench.runs(one).values()
    bench.claims.release(held)
    bench.deliver(one)
    bench.delivered(one)


def test_an_abandoned_delivery_ends_at_once_also_while_the_server_is_away(
    bench: Bench, one: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 60.0)
    bench.shaky.failing["get_run"] = [AWAY] * 1000
    delivery = bench.begin(one, bench.desk(one), bench.claim(one))
    until(lambda: bool(bench.said))
    begun = time.monotonic()
    delivery.abandon()
    delivery.wait()
    assert time.monotonic() - begun < 5
    assert [said["event"] for said in bench.said] == ["tracking-away"]


def test_epochs_are_sent_while_the_training_goes_on(bench: Bench, one: Unit) -> None:
    desk = bench.desk(one, epochs=0, outcome=False)
    delivery = bench.begin(one, desk, bench.claim(one))
    desk.spool(1, {"train_loss": 1.0})
    delivery.epoch_ended()
    until(lambda: desk.run_id is not None and bool(bench.real.get_metric_history(desk.run_id, "train_loss")))
    assert delivery.busy
    bench.desk(one)
    delivery.finish()
    delivery.wait()
    bench.delivered(one)


def test_the_open_runs_of_a_quarantined_unit_have_failed_with_its_reason(bench: Bench, one: Unit) -> None:
    claim = bench.claim(one)
    delivery = bench.begin(one, bench.desk(one, outcome=False), claim)
    until(lambda: Desk(bench.home, one.fingerprint).run_id is not None)
    delivery.abandon()
    delivery.wait()
    assert bench.claims.fail(claim, "segfault", "it crashed", budget=1)
    answer = bench.claims.acquire(one.fingerprint, "anybody")
    assert isinstance(answer, Quarantined)
    end_quarantined(one, answer.reason, bench.tracking)
    ((run_id, status),) = bench.runs(one).items()
    assert status == "FAILED"
    assert "it crashed" in bench.real.get_run(run_id).data.tags["mlflow.note.content"]
    bench.shaky.failing["search_experiments"] = [AWAY]
    with pytest.raises(TrackingError):
        end_quarantined(one, answer.reason, bench.tracking)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, [thread.name for thread in threading.enumerate()]
        time.sleep(0.02)
