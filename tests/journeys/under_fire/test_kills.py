"""kill -9 of a runner at any moment costs one epoch of what was running, and changes nothing in the results."""

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.journeys.under_fire.ground import Ground, Runner, Tally, family
from training.protocol.job import Job
from training.protocol.unit import Unit


def fought(
    ground: Ground, jobs: Sequence[Job], folder: Path, kills: int, dice: random.Random, within: tuple[float, float],
    workers: int = 1, standing_in: bool = True,
) -> tuple[Tally, int]:  # fmt: skip
    """Start runners, kill each at a random moment after its first unit was begun, let the last one end. Returns what was done and how
    often it was killed: a runner that is done sooner than its kill was too quick."""
    folder.mkdir()
    killed = 0
    while killed < kills:
        runner = Runner(jobs, folder, workers, standing_in)
        begun = len(Tally([runner.journal]).all)
        give_up = time.monotonic() + 60
        while len(Tally([runner.journal]).all) == begun and not runner.over and time.monotonic() < give_up:
            time.sleep(0.01)
        time.sleep(dice.uniform(*within))
        if runner.over:
            break
        runner.kill()
        killed += 1
    Runner(jobs, folder, workers, standing_in).wait()
    return Tally([folder / "journal.jsonl"]), killed


def check(
    ground: Ground, units: Sequence[Unit], tally: Tally, killed: int, expected: dict[str, dict[str, str]], workers: int = 1
) -> None:
    assert ground.results(units) == expected
    ground.metrics_are_complete(units)
    assert ground.desks() == []
    epochs = sum(unit.training.max_epochs for unit in units)
    repeated = tally.epochs().total() - epochs
    assert repeated <= killed * workers  # the epoch between its last figures and its checkpoint is told twice
    # What was trained to the end is never trained again: a second "trained" may only repeat what lay sealed on a desk.
    assert all(count <= unit.training.max_epochs + killed for count, unit in zip(tally.epochs().values(), units, strict=False))


def undisturbed(ground: Ground, units: Sequence[Unit], folder: Path, standing_in: bool = True) -> dict[str, dict[str, str]]:
    folder.mkdir()
    Runner(ground.jobs(units), folder, standing_in=standing_in).wait()
    assert ground.desks() == []
    return ground.results(units)


def test_five_kills_of_the_runner_change_no_byte_of_any_result(
    new_ground: Callable[[], Ground], tmp_path: Path, dice: random.Random
) -> None:
    units, ground = family(16), new_ground()
    expected = undisturbed(new_ground(), units, tmp_path / "calm")
    tally, killed = fought(ground, ground.jobs(units), tmp_path / "fire", 5, dice, (0.0, 0.7))
    assert killed == 5
    check(ground, units, tally, killed, expected)
