"""Several GPUs for a unit: part of what it is, refused where it makes no sense, and trained by a worker like any other unit."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.journeys.under_fire.ground import ROOT, Ground, film_store, unit
from tests.training.protocol.tiny import rows_only, stores_of, tiny_recipe
from training.learning.distributed import RankDied
from training.protocol import unit as module
from training.protocol.claims import ClaimTable
from training.protocol.desk import Desk
from training.protocol.job import Job
from training.protocol.plan import make_plan
from training.protocol.unit import Unit
from training.protocol.worker import describe
from training.tracking import Tracking, default_uri

COHORTS = (rows_only("aiforcovid", "prognosis", 2), rows_only("brixia", "severity", 4))


def several(one: Unit, processes: int) -> Unit:
    return Unit(**{**dict(one), "gpus_per_unit": processes})


# --- what they change --------------------------------------------------------------------------------------------------


def test_units_of_one_process_keep_the_fingerprints_they_had_before_there_was_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.metadata, "version", lambda _: "0")
    assert unit(3).fingerprint == "2c64e85058ee0809b3f6ad2275ec727b75e812dcb8e29b56d8620ab040e66046"
    assert unit(4, parents=("a", "b")).fingerprint == "0bb36bc4ada417c36cae23aee6eb932ad9d7c2306ec8d002bc82b07f0e0326a3"


def test_every_number_of_processes_is_another_unit() -> None:
    assert len({several(unit(3), n).fingerprint for n in (1, 2, 3, 8)}) == 4
    assert several(unit(3), 1).fingerprint == unit(3).fingerprint


def test_a_recipe_gives_its_gpus_to_every_unit_and_none_of_them_is_one_of_a_single_gpu() -> None:
    plans = [make_plan(tiny_recipe(gpus_per_unit=n), COHORTS, stores_of(COHORTS), None) for n in (1, 2)]
    assert [{one.gpus_per_unit for one in plan.units} for plan in plans] == [{1}, {2}]
    assert not plans[0].distinct.keys() & plans[1].distinct.keys()
    assert {one.params["gpus_per_unit"] for one in plans[1].units} == {2}


def test_a_recipe_of_one_gpu_keeps_the_digest_it_had_and_another_number_changes_it() -> None:
    recipe = tiny_recipe()
    later = {
        "running": True,
        "gpus_per_unit": True,
        "evidence": True,
        "training": {"ranked", "test_views", "pooling", "averaging"},
        "subsets": {"__all__": {"at_most"}},
    }
    before = recipe.model_dump(mode="json", exclude=later)
    assert recipe.digest() == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    assert tiny_recipe(gpus_per_unit=2).digest() != recipe.digest()
    assert tiny_recipe(running={"units_per_gpu": 4}).digest() == recipe.digest()


@pytest.mark.parametrize("sharers", [4, "measured"])
def test_how_many_units_share_a_gpu_changes_no_unit_and_no_digest(sharers: object) -> None:
    recipes = tiny_recipe(device="cuda"), tiny_recipe(device="cuda", running={"units_per_gpu": sharers})
    plans = [make_plan(recipe, COHORTS, stores_of(COHORTS), None) for recipe in recipes]
    assert plans[0].distinct.keys() == plans[1].distinct.keys()
    assert recipes[0].digest() == recipes[1].digest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"gpus_per_unit": 9},
            "batch_size 16 leaves fewer than 2 films to each of gpus_per_unit = 9 processes: use a batch_size of 18",
        ),
        ({"gpus_per_unit": 2, "running": {"units_per_gpu": 2}}, "a unit has several GPUs, or a GPU several units"),
        ({"gpus_per_unit": 2, "running": {"units_per_gpu": "measured"}}, "units_per_gpu = measured: a unit has several GPUs"),
        ({"running": {"units_per_gpu": "many"}}, "Input should be 'measured'"),
        ({"gpus_per_unit": 0}, "greater than or equal to 1"),
        ({"gpus_per_unit": 17}, "less than or equal to 16"),
        ({"running": {"units_per_gpu": 0}}, "greater than or equal to 1"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny_recipe(**changes)


@pytest.mark.parametrize(("code", "kind"), [(-signal.SIGKILL, "killed"), (-signal.SIGSEGV, "segfault"), (1, "exception")])
def test_a_dead_rank_is_a_failure_of_its_own_kind(code: int, kind: str) -> None:
    assert describe(RankDied(1, 2, code))[0] == kind


# --- in a worker -------------------------------------------------------------------------------------------------------


@pytest.fixture
def ground(new_home: Callable[[], Path], tmp_path: Path) -> Ground:
    home = new_home()
    return Ground(home, Tracking(default_uri(home), home), film_store(tmp_path / "noise"))


@contextmanager
def working(job: Job) -> Iterator[tuple[subprocess.Popen[str], Iterator[dict[str, Any]]]]:
    """A real worker with the job, and what it says."""
    command, env = [sys.executable, "-m", "training.protocol.worker"], os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(job.model_dump_json() + "\n")
        process.stdin.flush()
        yield process, map(json.loads, process.stdout)
    finally:
        process.kill()
        process.wait()


def after(events: Iterator[dict[str, Any]], *kinds: str) -> dict[str, Any]:
    return next(event for event in events if event["event"] in kinds)


def ranks_of(worker: int) -> dict[int, int]:
    """Rank → process id."""
    found = {}
    for child in Path(f"/proc/{worker}/task/{worker}/children").read_text().split():
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(v.removeprefix(b"RANK=")): int(child) for v in variables if v.startswith(b"RANK=")}
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)  # nine starts of torch, on cores that may be shared
def test_a_worker_trains_a_unit_of_two_processes_fails_it_when_one_is_killed_stops_it_when_told_and_ends_it(
    ground: Ground,
) -> None:
    one = several(unit(77, epochs=12), 2)
    (job,) = ground.jobs([one])
    claims, desk = ClaimTable(ground.tracking.claims_uri, 60), Desk(ground.home, one.fingerprint)
    with working(job) as (process, events):
        after(events, "epoch")
        ranks = ranks_of(process.pid)
        assert set(ranks) == {0, 1}
        os.kill(ranks[1], signal.SIGKILL)
        failed = after(events, "failed")
        assert (failed["kind"], failed["quarantined"]) == ("killed", False)
        assert "process 1 of the 2" in failed["reason"]
        assert not ranks_of(process.pid)
    with working(job) as (process, events):
        after(events, "epoch")
        ranks = ranks_of(process.pid)
        process.terminate()
        assert process.wait(60) == 0
        assert not [pid for pid in ranks.values() if Path(f"/proc/{pid}").exists()]
    assert claims.states([one.fingerprint])[one.fingerprint].state == "free"
    assert list(desk.checkpoints.iterdir())
    with working(job) as (process, events):
        done = after(events, "done", "failed")
    assert done["event"] == "done"
    run = ground.tracking.client.get_run(done["run"])
    assert run.data.params["gpus_per_unit"] == "2"
    history = ground.tracking.client.get_metric_history(done["run"], "train_loss")
    assert [point.step for point in history] == list(range(1, 13))
