"""A tracking server that is away, refuses or hangs: training goes on, and everything arrives exactly once when it is back."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import pytest

from tests.journeys.under_fire.conftest import MlflowServer
from tests.journeys.under_fire.fault_proxy import FaultProxy, Mode
from tests.journeys.under_fire.ground import Ground, Runner, Tally, events, unit
from training.protocol.unit import Unit

NOISE = 0.10  # of a machine that others use too; the ratio itself is in the README


def trained(units: Sequence[Unit]) -> Callable[[list[dict[str, object]]], bool]:
    return lambda seen: {e["unit"] for e in seen if e["event"] == "trained"} >= {one.fingerprint for one in units}


def arrived(ground: Ground, units: Sequence[Unit], journal: Path) -> None:
    ground.results(units)
    ground.metrics_are_complete(units)
    assert ground.desks() == []
    tally = Tally([journal])
    assert tally.count("trained") == tally.count("done") == Counter(one.fingerprint for one in units)
    assert not tally.count("failed")


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "seconds"), [("refuse", 5), ("error", 5), ("hang", 35)])
def test_a_server_that_is_away_in_the_middle_of_training_holds_nothing_up_and_loses_nothing(
    mode: Mode, seconds: float, behind: Callable[..., Ground], sqlite_server: MlflowServer, proxy: FaultProxy, tmp_path: Path
) -> None:
    ground, units = behind(sqlite_server.uri, "", proxy.uri), [unit(i, epochs=20) for i in range(4)]
    runner = Runner(ground.jobs(units), tmp_path)
    runner.until(lambda seen: sum(event["event"] == "epoch" for event in seen) >= 5)
    proxy.mode, since = mode, time.monotonic()
    runner.until(trained(units))
    assert not runner.over
    time.sleep(max(0.0, seconds - (time.monotonic() - since)))
    proxy.mode, back = "pass", time.monotonic()
    runner.wait()
    assert time.monotonic() - back <= 60
    arrived(ground, units, tmp_path / "journal.jsonl")


@pytest.mark.slow
def test_a_server_killed_in_the_middle_of_training_is_caught_up_with_when_it_is_started_again(
    behind: Callable[..., Ground], postgres_mlflow: MlflowServer, postgres_store: str, tmp_path: Path
) -> None:
    ground, units = behind(postgres_mlflow.uri, postgres_store), [unit(i, epochs=21) for i in range(3)]
    runner = Runner(ground.jobs(units), tmp_path)
    runner.until(lambda seen: sum(event["event"] == "epoch" for event in seen) >= 5)
    postgres_mlflow.kill()
    runner.until(trained(units))
    postgres_mlflow.start()
    runner.wait()
    arrived(ground, units, tmp_path / "journal.jsonl")


@pytest.mark.slow
def test_a_runner_killed_while_the_server_is_away_has_everything_and_trains_nothing_again(
    behind: Callable[..., Ground], sqlite_server: MlflowServer, proxy: FaultProxy, tmp_path: Path
) -> None:
    ground = behind(proxy.uri)
    units = [unit(0), unit(1), unit(2, epochs=4, fold="slow")]
    child = unit(3, parents=(units[0].fingerprint,))
    jobs = ground.jobs([*units, child])
    runner = Runner(jobs, tmp_path)
    runner.until(lambda seen: any(event["event"] == "done" for event in seen))
    proxy.mode = "refuse"
    runner.until(trained([*units, child]))
    runner.kill()
    proxy.mode = "pass"
    before = Tally([tmp_path / "journal.jsonl"]).epochs()
    Runner(jobs, tmp_path).wait()
    assert Tally([tmp_path / "journal.jsonl"]).epochs() == before
    ground.results([*units, child])
    ground.metrics_are_complete([*units, child])
    assert ground.desks() == []


@pytest.mark.slow
def test_a_child_whose_parents_are_in_mlflow_only_waits_for_the_server_and_does_not_fail(
    behind: Callable[..., Ground], sqlite_server: MlflowServer, proxy: FaultProxy, tmp_path: Path
) -> None:
    ground, parent = behind(sqlite_server.uri, "", proxy.uri), unit(0)
    child = unit(1, parents=(parent.fingerprint,))
    first = tmp_path / "first"
    first.mkdir()
    Runner(ground.jobs([parent]), first).wait()
    proxy.mode = "refuse"
    runner = Runner(ground.jobs([child], attempts=1), tmp_path, tracking_uri=sqlite_server.uri)
    runner.until(lambda seen: [event["event"] for event in seen].count("tracking-away") >= 2)
    proxy.mode = "pass"
    runner.wait()
    arrived(ground, [child], tmp_path / "journal.jsonl")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_training_without_a_server_takes_no_longer_than_with_one(
    behind: Callable[..., Ground], sqlite_server: MlflowServer, proxy: FaultProxy, new_ground: Callable[[], Ground],
    tmp_path: Path, record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    """Both at the same moment on a core each, real training, so that whatever else the machine does hits both alike."""
    units = [unit(seed, epochs=60) for seed in range(10)]
    away, with_server = behind(sqlite_server.uri, "", proxy.uri), tmp_path / "with"
    jobs = away.jobs(units)
    calm_home = tmp_path / "calm-home"
    others = [unit(seed, epochs=60) for seed in range(100, 110)]  # other fingerprints, equal work
    calm = [job.model_copy(update={"home": calm_home, "tracking_uri": sqlite_server.uri, "claims_uri": f"sqlite:///{tmp_path}/c.db"})
            for job in away.jobs(others)]  # fmt: skip
    proxy.mode = "refuse"
    with_server.mkdir()
    runners = [
        Runner(jobs, tmp_path, standing_in=False, tracking_uri=sqlite_server.uri),
        Runner(calm, with_server, standing_in=False),
    ]
    runners[0].until(trained(units), 280)
    runners[1].wait()
    proxy.mode = "pass"
    runners[0].wait()
    ratio = median(
        a / b for a, b in zip(seconds(tmp_path / "journal.jsonl"), seconds(with_server / "journal.jsonl"), strict=True)
    )
    record_property("ratio", ratio)
    print(json.dumps({"seconds of training without and with a server, median of the ratios": round(ratio, 3)}))  # noqa: T201
    arrived(away, units, tmp_path / "journal.jsonl")
    assert ratio <= 1.05 + NOISE


def seconds(journal: Path) -> list[float]:
    """Duration of each unit's epochs after the first (which pays for what is done once), in the order in which they were trained."""
    moments: dict[str, list[float]] = {}
    for event in events(journal):
        if event["event"] == "epoch":
            moments.setdefault(event["unit"], []).append(event["at"])
    return [at[-1] - at[0] for at in moments.values()]
