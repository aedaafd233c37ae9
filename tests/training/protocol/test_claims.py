from collections.abc import Callable

import pytest

from tests.training.protocol.claim_tables import acquired
from training.protocol.claim import Busy, Claim, ClaimLost, Committed, Quarantined
from training.protocol.claims import ClaimTable


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
