"""Units that raise, crash, are killed or hang: the others complete, each is quarantined with its own reason, and may be forgiven."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.under_fire.ground import Ground, Runner, Tally, events, unit
from training.protocol.claims import ClaimTable

pytestmark = pytest.mark.long

SILENCE = 8.0  # seconds


def test_each_poison_is_quarantined_with_its_kind_after_its_budget_and_the_others_complete(
    new_ground: Callable[[], Ground], tmp_path: Path
) -> None:
    ground = new_ground()
    poison = {kind: unit(100 + i, fold=kind) for i, kind in enumerate(("raise", "kill", "segfault", "hang"))}
    good = [unit(seed) for seed in range(3)] + [unit(50, fold="flaky")]
    child = unit(60, parents=(poison["raise"].fingerprint,))
    grandchild = unit(61, parents=(child.fingerprint,))
    units = [*poison.values(), *good, child, grandchild]
    jobs = ground.jobs(units, attempts=2, silence_minutes=SILENCE / 60)
    Runner(jobs, tmp_path, workers=2).wait()

    last = events(tmp_path / "journal.jsonl")[-1]
    assert last["failed"].keys() == {one.fingerprint for one in poison.values()}
    assert last["skipped"] == sorted([child.fingerprint, grandchild.fingerprint])
    kinds = {"raise": "exception", "kill": "killed", "segfault": "segfault", "hang": "hang"}
    for kind, one in poison.items():
        reason = last["failed"][one.fingerprint]
        assert reason.startswith(f"{kinds[kind]}, failure 2 of 2 allowed: "), reason
        # A process that dies between opening a run and noting it leaves one that the next attempt ends as KILLED.
        ends = Counter(run.info.status for run in ground.runs_of(one))
        assert ends["FAILED"] == 1, ends
        assert ends.keys() <= {"FAILED", "KILLED"}, ends
    assert "ArithmeticError: poison" in last["failed"][poison["raise"].fingerprint]
    ground.results(good)
    ground.metrics_are_complete(good)
    tally = Tally([tmp_path / "journal.jsonl"])
    assert tally.count("failed")[good[-1].fingerprint] == 1  # flaky: once more, then well
    assert tally.count("claimed")[good[-1].fingerprint] >= 2  # and again if its worker is killed while its delivery is on the way
    # A unit of three epochs whose second kills it: the first is not repeated, for its checkpoint is there.
    assert tally.epochs()[poison["kill"].fingerprint] == 1

    begun = time.monotonic()
    Runner(jobs, tmp_path).wait()  # quarantined: found so at once, nothing is tried
    assert Tally([tmp_path / "journal.jsonl"]).count("claimed") == tally.count("claimed")
    assert time.monotonic() - begun < 60
    ClaimTable(jobs[0].claims_uri).forgive([poison["raise"].fingerprint])
    # The fold is no part of the fingerprint: the same unit, cured.
    cured = poison["raise"].model_copy(update={"fold": "cured"})
    folder = tmp_path / "again"
    folder.mkdir()
    Runner(ground.jobs([cured, child, grandchild]), folder).wait()
    ground.results([cured, child, grandchild])
    assert ground.desks() == sorted(one.fingerprint for kind, one in poison.items() if kind != "raise")
