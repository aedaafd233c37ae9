"""Several runners on the same units at the same time: they share the work, and no unit is trained to the end twice."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.journeys.under_fire.conftest import MlflowServer
from tests.journeys.under_fire.ground import Ground, Runner, Tally, family
from training.protocol.job import Job
from training.protocol.unit import Unit

LEASE = 2.0


def together(jobs_of: Sequence[Sequence[Job]], folder: Path) -> Tally:
    """One runner for each list of jobs, all at once; returns what all of them did."""
    folders = [folder / f"runner-{i}" for i in range(len(jobs_of))]
    for one in folders:
        one.mkdir()
    runners = [Runner(jobs, one) for jobs, one in zip(jobs_of, folders, strict=True)]
    for runner in runners:
        runner.wait()
    return Tally([one / "journal.jsonl" for one in folders])


def shared_fairly(tally: Tally, units: Sequence[Unit]) -> None:
    assert tally.count("trained") == Counter(unit.fingerprint for unit in units)
    assert tally.epochs() == Counter({unit.fingerprint: unit.training.max_epochs for unit in units})


@pytest.mark.slow
@pytest.mark.parametrize("runners", [2, 8])
def test_runners_on_one_machine_with_sqlite_train_no_unit_twice(
    runners: int, new_ground: Callable[[], Ground], tmp_path: Path
) -> None:
    ground, units = new_ground(), family(24)
    tally = together([ground.jobs(units, lease_seconds=LEASE)] * runners, tmp_path)
    shared_fairly(tally, units)
    ground.results(units)
    ground.metrics_are_complete(units)
    assert ground.desks() == []


@pytest.mark.slow
@pytest.mark.parametrize("runners", [2, 8])
def test_runners_as_if_on_machines_of_their_own_with_postgresql_train_no_unit_twice(
    runners: int, behind: Callable[..., Ground], postgres_mlflow: MlflowServer, postgres_store: str, tmp_path: Path
) -> None:
    ground, units = behind(postgres_mlflow.uri, postgres_store), family(24, epochs=3 + runners // 8)
    jobs = ground.jobs(units, lease_seconds=LEASE)
    homes = [tmp_path / f"home-{i}" for i in range(runners)]
    tally = together([[job.model_copy(update={"home": home}) for job in jobs] for home in homes], tmp_path)
    shared_fairly(tally, units)
    ground.results(units)
    ground.metrics_are_complete(units)
    assert not [desk for home in homes for desk in (home / "units").glob("*")]
