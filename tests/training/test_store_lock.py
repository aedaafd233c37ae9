"""Many processes on one empty database at once: all of them start, and one at a time makes what is missing."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from tests.postgres import PostgresServer, postgres_server
from training import store_lock
from training.store_lock import StoreBusy, one_at_a_time
from training.tracking import Tracking, TrackingError

__all__ = ["postgres_server"]

REPO = Path(__file__).parents[2]
COUNT = 16
# Processes that have imported everything and then open the store in the same moment, each with the home that it was given.
RACE = """
import multiprocessing, sys
from pathlib import Path
from training.tracking import Tracking

def open_store(home, start):
    start.wait()
    tracking = Tracking(sys.argv[1], home)
    experiment = tracking.experiment("mdmt-race")
    tracking.parent_run(experiment, "the only group", "digest", {})

homes = [Path(home) for home in sys.argv[2:]]
fork = multiprocessing.get_context("fork")
start = fork.Barrier(len(homes))
processes = [fork.Process(target=open_store, args=(home, start)) for home in homes]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(str([process.exitcode for process in processes]) if any(process.exitcode for process in processes) else 0)
"""


def race(uri: str, homes: list[Path]) -> None:
    """All start, and find one experiment with one group run."""
    command = [sys.executable, "-c", RACE, uri, *map(str, homes)]
    ended = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    tracking = Tracking(uri, homes[0])
    experiments = [e for e in tracking.client.search_experiments() if e.name == "mdmt-race"]
    assert len(experiments) == 1
    assert len(tracking.client.search_runs([experiments[0].experiment_id])) == 1


def test_some_processes_with_homes_of_their_own_open_one_empty_file_at_once(tmp_path: Path) -> None:
    race(f"sqlite:///{tmp_path}/mlflow.db", [tmp_path / f"home{i}" for i in range(4)])


@pytest.mark.slow
def test_sixteen_processes_with_one_home_open_an_empty_store_at_once(tmp_path: Path) -> None:
    race(f"sqlite:///{tmp_path}/mlflow.db", [tmp_path] * COUNT)


@pytest.mark.slow
def test_sixteen_processes_with_sixteen_homes_open_one_empty_file_at_once(tmp_path: Path) -> None:
    race(f"sqlite:///{tmp_path}/mlflow.db", [tmp_path / f"home{i}" for i in range(COUNT)])


@pytest.mark.slow
def test_sixteen_processes_with_sixteen_homes_open_one_empty_postgresql_at_once(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    race(postgres_server.new_database(), [tmp_path / f"home{i}" for i in range(COUNT)])


def held_one_after_the_other(uris: list[str], otherwise: Path) -> bool:
    """Whether of threads that each hold the lock for a moment, no two ever do at once."""
    inside, most = [0], [0]

    def hold(uri: str) -> None:
        with one_at_a_time(uri, otherwise):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1

    threads = [threading.Thread(target=hold, args=(uri,)) for uri in uris]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most == [1]


def test_the_lock_of_a_file_is_the_files_and_anything_else_has_a_place_of_its_own(tmp_path: Path) -> None:
    uri, otherwise = f"sqlite:///{tmp_path}/a.db", tmp_path / "lock"
    assert held_one_after_the_other([uri] * 8, otherwise)
    assert (tmp_path / "a.db.lock").exists()
    assert not otherwise.exists()
    assert held_one_after_the_other(["file:///somewhere", "/a/folder", "sqlite://"] * 3, otherwise)
    assert otherwise.exists()


def test_who_waits_too_long_is_told_what_holds_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_lock, "WAIT_SECONDS", 0.1)
    uri = f"sqlite:///{tmp_path}/a.db"
    with (
        one_at_a_time(uri, tmp_path / "lock"),
        pytest.raises(StoreBusy, match=r"lock on .*a\.db\.lock for 0\.1 seconds: find one that is frozen"),
        one_at_a_time(uri, tmp_path / "lock"),
    ):
        pass
    with one_at_a_time(uri, tmp_path / "lock"):
        pass


@pytest.mark.slow
def test_the_lock_of_postgresql_is_the_databases_and_ends_with_its_process(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = postgres_server.new_database()
    # Without a driver, as MLflow's documentation writes it, it is the same database.
    assert held_one_after_the_other([uri, uri.replace("+psycopg", "")] * 4, tmp_path / "lock")
    monkeypatch.setattr(store_lock, "WAIT_SECONDS", 1)
    with (
        one_at_a_time(uri, tmp_path / "lock"),
        pytest.raises(StoreBusy, match="for 1 seconds"),
        one_at_a_time(uri, tmp_path / "lock"),
    ):
        pass
    with one_at_a_time(uri, tmp_path / "lock"), psycopg.connect(uri.replace("+psycopg", ""), autocommit=True) as other:
        holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        assert len(other.execute(holders).fetchall()) == 1


@pytest.mark.slow
def test_a_postgresql_that_is_not_there_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "1")
    with pytest.raises(TrackingError, match=r"no MLflow at postgresql\+psycopg://mdmt:\*\*\*@127\.0\.0\.1:9/none"):
        Tracking("postgresql+psycopg://mdmt:secret@127.0.0.1:9/none", tmp_path)
