"""The claims with real processes that are killed, frozen and woken, and with a database that crashes under them."""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.postgres import PostgresServer, postgres_server  # noqa: F401 - a fixture
from tests.training.protocol.crowd import CONTEXT, Crowd, audit, chaos, read, send, work
from training.protocol.claim import Busy, Claim, ClaimLost, Committed
from training.protocol.claims import ClaimTable
from training.protocol.lease import Lease

pytestmark = pytest.mark.long

CONTEXT.set_forkserver_preload([__name__])  # imports SQLAlchemy once for all


@pytest.fixture(params=["sqlite", "postgresql"])
def new_uri(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.new_database
    numbers = iter(range(1000))
    return lambda: f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.end()


@pytest.mark.parametrize(
    ("workers", "n", "longest", "seconds"),
    [
        pytest.param(8, 150, 0.15, 2.5, id="five seconds"),
        pytest.param(8, 400, 0.3, 15, id="fifteen seconds", marks=pytest.mark.slow),
        pytest.param(16, 2400, 0.15, 30, id="2400 units", marks=pytest.mark.slow),
    ],
)
def test_workers_that_are_killed_and_frozen_commit_every_unit_exactly_once(
    new_uri: Callable[[], str], tmp_path: Path, crowd: Crowd, workers: int, n: int, longest: float, seconds: float
) -> None:
    uri, ttl, dice = new_uri(), 1.0, random.Random(20260)
    units = [f"unit-{i}" for i in range(n)]
    names = iter(range(10_000))

    def spawn() -> None:
        name = f"worker-{next(names)}"
        crowd.start(work, uri, units, name, tmp_path / f"{name}.jsonl", ttl, longest)

    for _ in range(workers):
        spawn()
    done = chaos(crowd, spawn, seconds, ttl, dice)
    for process in crowd.processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert min(done["killed"], done["frozen"]) >= 3 * seconds / 2
    audit(uri, units, read(tmp_path))
    if uri.startswith("sqlite"):
        with sqlite3.connect(uri.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def hold(pipe: Connection, uri: str, units: Sequence[str], ttl: float) -> None:
    """A worker that is about to commit: what it was told then, after somebody let it go on."""
    table = ClaimTable(uri, ttl_seconds=ttl)
    claims = [table.acquire(unit, "zombie") for unit in units]
    pipe.send(len([claim for claim in claims if isinstance(claim, Claim)]))
    pipe.recv()
    told = []
    for claim in claims:
        for late in (lambda c=claim: table.renew(c), lambda c=claim: table.commit(c, "stale")):
            try:
                late()
                told.append("accepted")
            except ClaimLost:
                told.append("lost")
    pipe.send(told)


def test_no_commit_of_a_hundred_zombies_is_accepted(new_uri: Callable[[], str], crowd: Crowd) -> None:
    uri, ttl = new_uri(), 0.5
    table = ClaimTable(uri)
    shares = [[f"{i}-{j}" for j in range(10)] for i in range(10)]
    zombies = [crowd.ask(hold, uri, share, ttl) for share in shares]
    for zombie, pipe in zombies:
        assert pipe.recv() == 10
        send(zombie, signal.SIGSTOP)
    time.sleep(ttl + 0.1)
    claims = [table.acquire(unit, "heir") for share in shares for unit in share]
    assert all(isinstance(claim, Claim) and claim.fence == 2 for claim in claims)
    for claim in claims[::2]:
        table.commit(claim, "fresh")
    for zombie, pipe in zombies:
        pipe.send("go on")
        send(zombie, signal.SIGCONT)
    assert [pipe.recv() for _, pipe in zombies] == [["lost"] * 20] * 10
    for claim in claims[1::2]:
        table.commit(claim, "fresh")
    assert {standing.run_id for standing in table.states(claim.unit for claim in claims).values()} == {"fresh"}


def renew(pipe: Connection, uri: str, units: Sequence[str], ttl: float) -> None:
    table = ClaimTable(uri, ttl_seconds=ttl)
    with ExitStack() as leases:
        for unit in units:
            claim = table.acquire(unit, "living")
            leases.enter_context(Lease(table, claim))
        pipe.send("holding")
        pipe.recv()


@pytest.mark.slow  # it measures seconds, which a machine at full load does not keep
def test_units_of_the_living_stay_theirs_and_those_of_the_killed_are_free_within_the_ttl_and_one_poll(
    new_uri: Callable[[], str], crowd: Crowd
) -> None:
    uri, ttl = new_uri(), 0.6
    table, units = ClaimTable(uri), [f"unit-{i}" for i in range(20)]
    holders = [crowd.ask(renew, uri, units[i::4], ttl) for i in range(4)]
    assert [pipe.recv() for _, pipe in holders] == ["holding"] * 4
    time.sleep(1.3 * ttl)
    assert all(isinstance(table.acquire(unit, "heir"), Busy) for unit in units)
    for process, _ in holders:
        process.kill()
    killed, waiting = time.monotonic(), set(units)
    while waiting and time.monotonic() - killed < 10:
        waiting -= {unit for unit in waiting if isinstance(table.acquire(unit, "heir"), Claim)}
        time.sleep(0.1)
    assert not waiting
    assert time.monotonic() - killed < ttl + 1


def begin(pipe: Connection, uri: str) -> None:
    pipe.recv()
    pipe.send(type(ClaimTable(uri).acquire("unit", "one of many")).__name__)


def test_sixteen_processes_on_an_empty_database_at_once_all_find_the_table_and_one_gets_the_unit(
    new_uri: Callable[[], str], crowd: Crowd
) -> None:
    uri = new_uri()
    pipes = [crowd.ask(begin, uri)[1] for _ in range(16)]
    for pipe in pipes:
        pipe.send("now")
    assert Counter(pipe.recv() for pipe in pipes) == {"Claim": 1, "Busy": 15}


def crash(uri: str, step: int) -> None:
    """Work on one unit and die of SIGKILL before the given statement or commit that is sent to the database."""
    table = ClaimTable(uri, ttl_seconds=0.1)
    steps = iter(range(step))

    def next_step(*_: Any) -> None:
        if next(steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", next_step)
    event.listen(Engine, "commit", next_step)
    claim = table.acquire("unit", "first")
    assert isinstance(claim, Claim)
    table.record_run(claim, "first run")
    table.commit(claim, "first run")


def test_wherever_a_worker_is_killed_the_next_one_ends_with_one_committed_run(new_uri: Callable[[], str], crowd: Crowd) -> None:
    uri, ends = new_uri(), []
    for step in range(100):
        table = ClaimTable(uri)
        process = crowd.start(crash, uri, step)
        process.join(timeout=30)
        answer = table.acquire("unit", "second")
        while isinstance(answer, Busy):
            time.sleep(0.02)
            answer = table.acquire("unit", "second")
        if isinstance(answer, Claim):
            assert answer.previous_run in (None, "first run")
            table.commit(answer, "second run")
        end = table.acquire("unit", "third")
        assert isinstance(end, Committed)
        ends.append(end.run_id)
        if process.exitcode == 0:
            break
        uri = new_uri() if uri.startswith("postgresql") else f"{uri}.{step}"
    assert ends == ["second run"] * (len(ends) - 1) + ["first run"]
    assert len(ends) > 10, "acquire, record and commit take several statements each"


@pytest.mark.parametrize(
    ("writers", "rounds"), [pytest.param(4, 1, id="once"), pytest.param(8, 5, id="five times", marks=pytest.mark.slow)]
)
def test_what_postgresql_acknowledged_before_a_crash_is_there_afterwards_and_its_clients_go_on(
    postgres_server: PostgresServer,  # noqa: F811 - the fixture
    tmp_path: Path,
    crowd: Crowd,
    writers: int,
    rounds: int,
) -> None:
    uri, units = postgres_server.new_database(), [f"unit-{i}" for i in range(100 * writers * rounds)]
    for i in range(writers):
        crowd.start(work, uri, units, f"writer-{i}", tmp_path / f"{i}.jsonl", 1.0, 0.02)
    for _ in range(rounds):
        enough = len(read(tmp_path)) + 20 * writers
        _wait_for(lambda enough=enough: len(read(tmp_path)) > enough, 20)
        postgres_server.stop("immediate")
        acknowledged = {entry["unit"]: entry["run"] for entry in read(tmp_path) if entry["told"] == "committed"}
        time.sleep(0.3)
        postgres_server.start()
        back = time.monotonic()
        stored = ClaimTable(uri).states(acknowledged)
        assert {unit: standing.run_id for unit, standing in stored.items()} == acknowledged
        _wait_for(lambda back=back: any(entry["at"] > back for entry in read(tmp_path)), 10)
    for process in crowd.processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    audit(uri, units, read(tmp_path))


def _wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.05)
