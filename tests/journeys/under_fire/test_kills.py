"""kill -9 of a runner at any moment costs one epoch of what was running, and changes nothing in the results."""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.journeys.under_fire.conftest import MlflowServer
from tests.journeys.under_fire.ground import Ground, Runner, Tally, family, unit
from training.protocol.job import Job
from training.protocol.unit import Unit

pytestmark = pytest.mark.long


def fought(
    jobs: Sequence[Job], folder: Path, kills: int, dice: random.Random, longest: float, after: str, standing_in: bool
) -> int:
    """Start runners one after another and kill each at a random moment, up to `longest` seconds after its first new event of kind
    `after`; let the last one end. Returns how many were killed: one that is done before its moment has come is the last."""
    folder.mkdir()
    journal, killed = folder / "journal.jsonl", 0
    while killed < kills:
        begun = Tally([journal]).count(after).total()
        runner = Runner(jobs, folder, standing_in=standing_in)
        while Tally([journal]).count(after).total() == begun and not runner.over:
            time.sleep(0.01)
        time.sleep(dice.uniform(0, longest))
        if runner.over:
            break
        runner.kill()
        killed += 1
    Runner(jobs, folder, standing_in=standing_in).wait()
    return killed


def unchanged(
    fire: Ground, calm: Ground, units: Sequence[Unit], folder: Path, kills: int, dice: random.Random, longest: float = 0.7,
    after: str = "claimed", standing_in: bool = True,
) -> None:  # fmt: skip
    """Do the units once in peace and once under fire, and compare all that can be seen."""
    (folder / "calm").mkdir()
    Runner(calm.jobs(units), folder / "calm", standing_in=standing_in).wait()
    begun = time.monotonic()
    killed = fought(fire.jobs(units), folder / "fire", kills, dice, longest, after, standing_in)
    seconds = time.monotonic() - begun
    assert fire.results(units) == calm.results(units)
    fire.metrics_are_complete(units)
    assert fire.desks() == calm.desks() == []
    tally = Tally([folder / "fire" / "journal.jsonl"])
    repeated = tally.epochs() - Counter({one.fingerprint: one.training.max_epochs for one in units})
    sys.stdout.write(f"{killed} kills in {seconds:.0f} s, {len(units)} units, {repeated.total()} epochs done twice\n")
    assert killed == kills
    assert repeated.total() <= killed  # an epoch is heard before its checkpoint is written: only that one may come again
    assert not tally.count("failed")


def test_five_kills_of_the_runner_change_no_byte_of_any_result(
    new_ground: Callable[[], Ground], tmp_path: Path, dice: random.Random
) -> None:
    unchanged(new_ground(), new_ground(), family(9), tmp_path, 5, dice, 0.4)


@pytest.mark.slow
def test_ten_kills_of_a_runner_with_postgresql_and_an_mlflow_server_change_no_byte_of_any_result(
    new_ground: Callable[[], Ground], behind: Callable[..., Ground], postgres_mlflow: MlflowServer, postgres_store: str,
    tmp_path: Path, dice: random.Random,
) -> None:  # fmt: skip
    fire = behind(postgres_mlflow.uri, postgres_store)
    unchanged(fire, new_ground(), family(24, epochs=4), tmp_path, 10, dice, 1.0)


@pytest.mark.slow
def test_kills_in_the_middle_of_real_trainings_change_no_byte_of_any_result(
    new_ground: Callable[[], Ground], tmp_path: Path, dice: random.Random
) -> None:
    """Weights, predictions and history of networks that torch has trained."""
    first, second = unit(0, epochs=8), unit(1, epochs=8)
    units = [first, second, unit(2, 8, (first.fingerprint, second.fingerprint)), unit(3, 8)]
    unchanged(new_ground(), new_ground(), units, tmp_path, 5, dice, 1.0, "epoch", standing_in=False)
