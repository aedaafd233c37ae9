import logging
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import create_engine, text

from tests.postgres import PostgresServer, postgres_server  # noqa: F401 - a fixture
from training.protocol import claims_database
from training.protocol.claim import Busy, Claim, ClaimLost, Committed, Quarantined
from training.protocol.claims import KINDS, ClaimTable
from training.protocol.claims_database import ClaimsUnavailable
from training.protocol.lease import Lease


@pytest.fixture(params=["sqlite", "postgresql"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'claims.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def table(uri: str) -> Iterator[ClaimTable]:
    table = ClaimTable(uri, patience_seconds=2)
    yield table
    table.close()


@pytest.fixture
def run_out(uri: str) -> Callable[[str], None]:
    """Makes the lease on a unit end now, as if its TTL had passed."""
    return lambda unit: _run_out(uri, unit)


def _run_out(uri: str, unit: str) -> None:
    engine = create_engine(uri)
    with engine.begin() as connection:
        connection.execute(text("UPDATE mdmt_claims SET lease_ends = 0 WHERE unit = :unit"), {"unit": unit})
    engine.dispose()


def acquired(table: ClaimTable, unit: str = "u", owner: str = "a") -> Claim:
    claim = table.acquire(unit, owner)
    assert isinstance(claim, Claim), claim
    return claim


def test_a_unit_is_claimed_by_one_and_busy_for_the_others(table: ClaimTable) -> None:
    assert acquired(table) == Claim("u", 1, "a", None)
    busy = table.acquire("u", "b")
    assert isinstance(busy, Busy)
    assert busy.owner == "a"
    assert 55 < busy.seconds_left <= 60


def test_a_lease_that_ran_out_goes_to_the_next_with_a_higher_fence_and_the_run_of_the_first(
    table: ClaimTable, run_out: Callable[[str], None]
) -> None:
    first = acquired(table)
    table.record_run(first, "run-1")
    run_out("u")
    assert acquired(table, owner="b") == Claim("u", 2, "b", "run-1")
    for late in (
        lambda: table.renew(first),
        lambda: table.commit(first, "run-1"),
        lambda: table.record_run(first, "run-2"),
        lambda: table.fail(first, "exception", "too late", 3),
    ):
        with pytest.raises(ClaimLost, match="fence 2 was given out since"):
            late()
    table.release(first)
    assert isinstance(table.acquire("u", "c"), Busy)


def test_a_lease_that_ran_out_and_was_taken_by_nobody_can_be_renewed_and_committed(
    table: ClaimTable, run_out: Callable[[str], None]
) -> None:
    claim = acquired(table)
    run_out("u")
    table.renew(claim)
    assert isinstance(table.acquire("u", "b"), Busy)
    run_out("u")
    table.commit(claim, "run")
    assert table.acquire("u", "b") == Committed("run")


def test_a_commit_is_final_and_repeating_it_changes_nothing(table: ClaimTable) -> None:
    claim = acquired(table)
    table.commit(claim, "run")
    table.commit(claim, "run")
    for late in (
        lambda: table.commit(claim, "other"),
        lambda: table.renew(claim),
        lambda: table.fail(claim, "hang", "late report", 1),
    ):
        with pytest.raises(ClaimLost, match="run run is committed"):
            late()
    assert table.acquire("u", "b") == Committed("run")
    assert table.quarantined() == {}


def test_reopen_undoes_the_commit_of_that_run_only(table: ClaimTable) -> None:
    claim = acquired(table)
    table.commit(claim, "run")
    table.reopen("u", "another")
    table.reopen("never seen", "run")
    assert table.acquire("u", "b") == Committed("run")
    table.reopen("u", "run")
    with pytest.raises(ClaimLost, match="given back"):
        table.commit(claim, "run")
    assert acquired(table, owner="b") == Claim("u", 2, "b", None)


def test_a_released_unit_is_free_at_once_and_its_claim_is_worth_nothing(table: ClaimTable) -> None:
    claim = acquired(table)
    table.release(claim)
    with pytest.raises(ClaimLost, match="given back"):
        table.commit(claim, "run")
    assert acquired(table, owner="b").fence == 2
    assert table.quarantined() == {}


def test_failures_up_to_the_budget_quarantine_the_unit_until_it_is_forgiven(table: ClaimTable) -> None:
    assert not table.fail(acquired(table), "exception", "first", 3)
    assert not table.fail(acquired(table), "hang", "second", 3)
    assert table.fail(acquired(table), "segfault", "third", 3)
    reason = "segfault, failure 3 of 3 allowed: third"
    assert table.acquire("u", "b") == Quarantined(reason, 3)
    assert table.quarantined() == {"u": reason}
    assert table.states(["u"])["u"].reasons == ("exception: first", "hang: second", "segfault: third")
    table.forgive(["other"])
    assert table.quarantined() == {"u": reason}
    table.forgive(["u"])
    assert table.quarantined() == {}
    assert acquired(table).fence == 4
    assert table.states(["u"])["u"].failures == 0


def test_being_killed_has_a_budget_of_its_own(table: ClaimTable) -> None:
    for _ in range(4):
        assert not table.fail(acquired(table), "killed", "SIGKILL", 5)
    assert not table.fail(acquired(table), "out-of-memory", "8 GiB", 2)
    assert table.fail(acquired(table), "out-of-memory", "8 GiB", 2)
    assert table.acquire("u", "b") == Quarantined("out-of-memory, failure 2 of 2 allowed: 8 GiB", 6)
    table.forgive()
    assert acquired(table).fence == 7


def test_a_runner_reports_the_death_of_a_worker_by_numbers_and_a_failure_counts_once(table: ClaimTable) -> None:
    claim = acquired(table)
    assert not table.fail_unit("u", claim.fence, "segfault", "signal 11", 2)
    assert not table.fail(claim, "exception", "the same attempt again", 2)
    assert table.states(["u"])["u"].failures == 1
    assert table.fail_unit("u", acquired(table).fence, "segfault", "signal 11", 2)
    with pytest.raises(ClaimLost, match="never seen"):
        table.fail_unit("v", 1, "killed", "", 2)


def test_unknown_kinds_and_empty_budgets_are_refused(table: ClaimTable) -> None:
    with pytest.raises(ValueError, match="unknown kind of failure 'bad luck'; allowed: exception, out-of-memory, killed"):
        table.fail(acquired(table), "bad luck", "", 3)
    with pytest.raises(ValueError, match="budget of 0"):
        table.fail_unit("u", 1, "hang", "", 0)


def test_long_reasons_and_many_failures_do_not_grow_the_table_without_bound(table: ClaimTable) -> None:
    for _ in range(8):
        table.fail(acquired(table), "killed", "x" * 10_000, 100)
    standing = table.states(["u"])["u"]
    assert standing.failures == 8
    assert len(standing.reasons) == 5
    assert max(map(len, standing.reasons)) < 600


def test_states_tell_how_thousands_of_units_stand(table: ClaimTable, run_out: Callable[[str], None]) -> None:
    table.commit(acquired(table, "done"), "run")
    table.record_run(acquired(table, "running"), "run-2")
    table.fail(acquired(table, "bad"), "hang", "no epoch for an hour", 1)
    acquired(table, "expired")
    run_out("expired")
    units = ["done", "running", "bad", "expired", *(f"never-{i}" for i in range(2400))]
    states = table.states(iter(units))
    assert {unit: s.state for unit, s in states.items()} == {
        "done": "committed",
        "running": "busy",
        "bad": "quarantined",
        "expired": "free",
    }
    assert (states["done"].run_id, states["running"].run_id) == ("run", "run-2")
    assert (states["running"].owner, states["running"].fence) == ("a", 1)


def test_the_clock_of_a_worker_does_not_count(table: ClaimTable, monkeypatch: pytest.MonkeyPatch) -> None:
    acquired(table)
    for hours in (-1, 1):
        monkeypatch.setattr(time, "time", lambda hours=hours: 1e9 + 3600 * hours)
        busy = table.acquire("u", "b")
        assert isinstance(busy, Busy)
        assert busy.seconds_left > 50


def test_a_lease_keeps_its_claim_and_says_when_it_is_lost(uri: str, run_out: Callable[[str], None]) -> None:
    table = ClaimTable(uri, ttl_seconds=0.6)
    claim = acquired(table)
    with Lease(table, claim) as lease:
        time.sleep(1.0)
        lease.check()
        assert isinstance(table.acquire("u", "b"), Busy)
        for _ in range(20):  # the lease may be renewed between the two
            run_out("u")
            if isinstance(table.acquire("u", "b"), Claim):
                break
        assert lease.lost.wait(3)
        with pytest.raises(ClaimLost, match="fence 2"):
            lease.check()
    table.close()


def test_without_renewal_the_next_gets_the_unit_within_the_ttl_and_one_poll(uri: str) -> None:
    table, began = ClaimTable(uri, ttl_seconds=0.5), time.monotonic()
    acquired(table)
    held, asked = time.monotonic(), time.monotonic()
    while isinstance(table.acquire("u", "b"), Busy):
        # Whoever asks later than that is given the unit, however slow the machine is in between.
        assert asked < held + 0.6
        time.sleep(0.05)
        asked = time.monotonic()
    assert time.monotonic() > began + 0.5
    table.close()


def test_a_database_that_fails_for_a_while_does_not_end_the_renewals(
    table: ClaimTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls, renew = count(), table.renew

    def flaky(claim: Claim) -> None:
        if next(calls) < 3:
            raise ClaimsUnavailable("down")
        renew(claim)

    monkeypatch.setattr(table, "renew", flaky)
    table.ttl_seconds = 0.3
    claim = acquired(table)
    with caplog.at_level(logging.WARNING), Lease(table, claim) as lease:
        time.sleep(0.6)
        lease.check()
    assert next(calls) > 4
    assert caplog.text.count("lease not renewed") == 3
    assert isinstance(table.acquire("u", "b"), Busy)


def test_a_client_that_froze_inside_a_transaction_frees_its_row_and_starts_over(
    postgres_server: PostgresServer,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims_database, "FROZEN_SECONDS", 1)
    uri = postgres_server.new_database()
    frozen, other = ClaimTable(uri), ClaimTable(uri)
    tries = count(1)
    hold = frozen._held

    def freeze(*args: object) -> object:
        row = hold(*args)  # type: ignore[arg-type]
        if next(tries) == 1:
            time.sleep(1.3)
            _run_out(uri, "u")
            acquired(other, owner="b")
        return row

    claim = acquired(frozen)
    monkeypatch.setattr(frozen, "_held", freeze)
    with pytest.raises(ClaimLost, match="fence 2"):
        frozen.commit(claim, "run")
    assert next(tries) == 2, "the second try found the claim lost before it could freeze"
    frozen.close()
    other.close()


@pytest.mark.parametrize(
    "uri", ["sqlite://", "sqlite:///:memory:", "http://mlflow:5000", "postgresql+psycopg2://u:secret@h/d", "x"]
)
def test_what_cannot_hold_claims_is_refused_with_what_can(uri: str) -> None:
    with pytest.raises(ValueError, match=r"allowed: sqlite:////path/to/file.db or postgresql\+psycopg") as refusal:
        ClaimTable(uri)
    assert "secret" not in str(refusal.value)


def test_a_database_that_is_not_there_is_named_with_what_to_check(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ClaimsUnavailable, match="unable to open database file; the folder must exist on a local disk"):
        ClaimTable(f"sqlite:///{tmp_path / 'nowhere' / 'claims.db'}")
    assert time.monotonic() - began < 1, "waiting does not mend this"
    with pytest.raises(ClaimsUnavailable, match="the server must run") as refusal:
        ClaimTable("postgresql+psycopg://u:secret@127.0.0.1:1/d", patience_seconds=0.2)
    assert "secret" not in str(refusal.value)


def test_claims_live_in_the_file_of_mlflow_and_touch_nothing_else(new_home: Callable[[], Path]) -> None:
    from training.tracking import Tracking, default_uri

    home = new_home()
    uri = default_uri(home)
    before = _schema(uri)
    table = ClaimTable(uri)
    table.commit(acquired(table), "run")
    after = _schema(uri)
    assert {name: sql for name, sql in after.items() if "mdmt_claims" not in name} == before
    assert any(name == "mdmt_claims" for name in after)
    experiment = Tracking(uri, home).experiment("beside the claims")
    assert experiment


def _schema(uri: str) -> dict[str, str]:
    engine = create_engine(uri)
    with engine.connect() as connection:
        return {row.name: row.sql for row in connection.execute(text("SELECT name, sql FROM sqlite_master"))}


UNITS = st.sampled_from(["u", "v"])
OWNERS = st.sampled_from(["a", "b", "c"])


class AgainstAPlainModel(RuleBasedStateMachine):
    """Every claim ever given stays in `claims`: most rules are played by zombies."""

    uri = ""

    @initialize()
    def begin(self) -> None:
        self.table = ClaimTable(self.uri, ttl_seconds=1000)
        engine = create_engine(self.uri)
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM mdmt_claims"))
        engine.dispose()
        self.claims: list[Claim] = []
        self.fence = {"u": 0, "v": 0}
        self.holder: dict[str, Claim] = {}  # who may commit
        self.live: set[str] = set()  # lease not run out
        self.run: dict[str, str] = {}
        self.committed: dict[str, tuple[int, str]] = {}
        self.failures: dict[str, list[str]] = {"u": [], "v": []}
        self.failed: dict[str, set[int]] = {"u": set(), "v": set()}
        self.bad: set[str] = set()

    @rule(unit=UNITS, owner=OWNERS)
    def acquire(self, unit: str, owner: str) -> None:
        answer = self.table.acquire(unit, owner)
        if unit in self.committed:
            assert answer == Committed(self.committed[unit][1])
        elif unit in self.bad:
            assert isinstance(answer, Quarantined)
            assert answer.failures == len(self.failures[unit])
        elif unit in self.live:
            assert isinstance(answer, Busy)
            assert answer.owner == self.holder[unit].owner
        else:
            self.fence[unit] += 1
            assert answer == Claim(unit, self.fence[unit], owner, self.run.get(unit))
            self.claims.append(answer)
            self.holder[unit] = answer
            self.live.add(unit)

    @rule(unit=UNITS)
    def time_passes(self, unit: str) -> None:
        _run_out(self.uri, unit)
        self.live.discard(unit)

    @rule(data=st.data(), run=st.sampled_from(["r1", "r2"]))
    def record(self, data: st.DataObject, run: str) -> None:
        claim = self.any_claim(data)
        if claim and self.allowed(claim, lambda: self.table.record_run(claim, run)):
            self.run[claim.unit] = run

    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        claim = self.any_claim(data)
        if claim and self.allowed(claim, lambda: self.table.renew(claim)):
            self.live.add(claim.unit)

    @rule(data=st.data(), run=st.sampled_from(["r1", "r2"]))
    def commit(self, data: st.DataObject, run: str) -> None:
        claim = self.any_claim(data)
        if claim is None:
            return
        if self.committed.get(claim.unit) == (claim.fence, run):
            self.table.commit(claim, run)
        elif self.allowed(claim, lambda: self.table.commit(claim, run)):
            self.committed[claim.unit] = (claim.fence, run)
            self.run[claim.unit] = run
            self.given_back(claim.unit)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        claim = self.any_claim(data)
        if claim:
            self.table.release(claim)
            if self.holder.get(claim.unit) == claim:
                self.given_back(claim.unit)

    @rule(data=st.data(), kind=st.sampled_from(KINDS), budget=st.integers(1, 4))
    def fail(self, data: st.DataObject, kind: str, budget: int) -> None:
        claim = self.any_claim(data)
        if claim is None:
            return
        unit, outcome = claim.unit, []
        if claim.fence in self.failed[unit] and claim.fence in sorted(self.failed[unit])[-5:]:
            assert self.table.fail(claim, kind, "again", budget) == (unit in self.bad)
        elif self.allowed(claim, lambda: outcome.append(self.table.fail(claim, kind, "why", budget))):
            self.failures[unit].append(kind)
            self.failed[unit].add(claim.fence)
            spent = sum((k == "killed") == (kind == "killed") for k in self.failures[unit])
            assert outcome == [spent >= budget]
            if spent >= budget:
                self.bad.add(unit)
            self.given_back(unit)

    @rule(unit=UNITS, run=st.sampled_from(["r1", "r2"]))
    def reopen(self, unit: str, run: str) -> None:
        self.table.reopen(unit, run)
        if self.committed.get(unit, (0, ""))[1] == run:
            del self.committed[unit]
            del self.run[unit]

    @rule(units=st.none() | st.lists(UNITS))
    def forgive(self, units: list[str] | None) -> None:
        self.table.forgive(units)
        for unit in ("u", "v") if units is None else units:
            self.failures[unit], self.failed[unit] = [], set()
            self.bad.discard(unit)

    @invariant()
    def the_views_agree(self) -> None:
        assert set(self.table.quarantined()) == self.bad
        for unit, standing in self.table.states(["u", "v"]).items():
            assert standing.fence == self.fence[unit]
            assert standing.failures == len(self.failures[unit])
            assert standing.run_id == self.run.get(unit)
            committed, bad, live = unit in self.committed, unit in self.bad, unit in self.live
            expected = "committed" if committed else "quarantined" if bad else "busy" if live else "free"
            assert standing.state == expected

    def any_claim(self, data: st.DataObject) -> Claim | None:
        return data.draw(st.sampled_from(self.claims)) if self.claims else None

    def allowed(self, claim: Claim, act: Callable[[], object]) -> bool:
        """Whether the claim may act, checked against what the table does."""
        if self.holder.get(claim.unit) == claim:
            act()
            return True
        with pytest.raises(ClaimLost):
            act()
        return False

    def given_back(self, unit: str) -> None:
        del self.holder[unit]
        self.live.discard(unit)

    def teardown(self) -> None:
        self.table.close()


def test_any_sequence_of_calls_by_living_and_dead_agrees_with_a_plain_model(uri: str) -> None:
    machine = type("Machine", (AgainstAPlainModel,), {"uri": uri})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
        ),
    )
