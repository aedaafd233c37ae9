"""The claims with real processes that are killed, frozen and woken, and with a database that crashes under them."""

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.postgres import PostgresServer, postgres_server  # noqa: F401 - a fixture
from training.protocol.claim import Busy, Claim, ClaimLost, Committed
from training.protocol.claims import ClaimTable
from training.protocol.lease import Lease

pytestmark = pytest.mark.long

# A fork server has neither the threads nor the connections of the test process, and imports SQLAlchemy once for all.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


@pytest.fixture(params=["sqlite", "postgresql"])
def new_uri(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.new_database
    numbers = iter(range(1000))
    return lambda: f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"


class Crowd:
    """Processes that tests may hurt; none is left at the end."""

    def __init__(self) -> None:
        self.processes: list[ForkServerProcess] = []

    def start(self, target: Callable[..., None], *args: Any) -> ForkServerProcess:
        process = CONTEXT.Process(target=target, args=args, daemon=True)
        process.start()
        self.processes.append(process)
        return process

    def ask(self, target: Callable[..., None], *args: Any) -> tuple[ForkServerProcess, Connection]:
        """Start a process that gets a pipe as its first argument."""
        ours, theirs = CONTEXT.Pipe()
        process = self.start(target, theirs, *args)
        theirs.close()
        return process, ours

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    crowd = Crowd()
    yield crowd
    crowd.end()


def work(uri: str, units: Sequence[str], owner: str, journal: Path, ttl: float, longest: float) -> None:
    """A worker: claims what is free, pretends to work, commits, and writes down what it was told, until every unit is committed."""
    table, dice, todo = ClaimTable(uri, ttl_seconds=ttl), random.Random(owner), list(units)
    dice.shuffle(todo)
    with journal.open("a", buffering=1) as lines:
        while todo:
            for unit in todo[:20]:
                claim = table.acquire(unit, owner)
                if not isinstance(claim, Claim):
                    continue
                run = f"{owner}/{claim.fence}"
                try:
                    table.record_run(claim, run)
                    time.sleep(dice.uniform(0, longest))
                    table.commit(claim, run)
                    told = "committed"
                except ClaimLost:
                    told = "lost"
                lines.write(json.dumps({"unit": unit, "run": run, "told": told, "at": time.monotonic()}) + "\n")
            states = table.states(todo)
            todo = [unit for unit in todo if unit not in states or states[unit].state != "committed"]
            dice.shuffle(todo)


def read(folder: Path) -> list[dict[str, Any]]:
    """All that workers were told. Who was killed while writing leaves half a line."""
    entries = []
    for journal in folder.glob("*.jsonl"):
        for line in journal.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                entries.append(json.loads(line))
    return entries


def audit(uri: str, units: Sequence[str], entries: Sequence[dict[str, Any]]) -> None:
    """Every unit committed, nobody told so who was not the one, nobody told twice."""
    states = ClaimTable(uri).states(units)
    assert {unit for unit, standing in states.items() if standing.state == "committed"} == set(units)
    told = [entry for entry in entries if entry["told"] == "committed"]
    assert all(states[entry["unit"]].run_id == entry["run"] for entry in told)
    assert max(Counter(entry["unit"] for entry in told).values()) == 1
    assert all(states[entry["unit"]].run_id != entry["run"] for entry in entries if entry["told"] == "lost")


def chaos(crowd: Crowd, spawn: Callable[[], None], seconds: float, ttl: float, dice: random.Random) -> Counter[str]:
    """Kill and replace, or freeze for up to twice the TTL, one process after another. Everybody is awake afterwards."""
    done: Counter[str] = Counter()
    frozen: dict[ForkServerProcess, float] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(process.is_alive() for process in crowd.processes):
        time.sleep(dice.uniform(0.02, 0.15))
        for process in [process for process, wake in frozen.items() if wake < time.monotonic()]:
            _signal(process, signal.SIGCONT)
            del frozen[process]
        victim = dice.choice(crowd.processes)
        if not victim.is_alive() or victim in frozen:
            continue
        if dice.random() < 0.5:
            _signal(victim, signal.SIGKILL)
            crowd.processes.remove(victim)
            victim.join()
            spawn()
            done["killed"] += 1
        else:
            _signal(victim, signal.SIGSTOP)
            frozen[victim] = time.monotonic() + dice.uniform(0.1, 2 * ttl)
            done["frozen"] += 1
    for process in frozen:
        _signal(process, signal.SIGCONT)
    return done


def _signal(process: ForkServerProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


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
        _signal(zombie, signal.SIGSTOP)
    time.sleep(ttl + 0.1)
    claims = [table.acquire(unit, "heir") for share in shares for unit in share]
    assert all(isinstance(claim, Claim) and claim.fence == 2 for claim in claims)
    for claim in claims[::2]:
        table.commit(claim, "fresh")
    for zombie, pipe in zombies:
        pipe.send("go on")
        _signal(zombie, signal.SIGCONT)
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
