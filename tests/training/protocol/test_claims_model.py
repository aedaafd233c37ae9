"""Any sequence of calls agrees with a model of a few lines."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import create_engine, text

from tests.training.protocol.claim_tables import end_lease
from training.protocol.claim import Busy, Claim, ClaimLost, Committed, Quarantined
from training.protocol.claims import KINDS, ClaimTable

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
        end_lease(self.uri, unit)
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
