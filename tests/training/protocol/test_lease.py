"""A lease keeps its claim as long as its worker lives, and no longer; the database's clock decides."""

import logging
import time
from collections.abc import Callable
from itertools import count

import pytest

from tests.postgres import PostgresServer
from tests.training.protocol.claim_tables import acquired, end_lease
from training.protocol import claims_database
from training.protocol.claim import Busy, Claim, ClaimLost
from training.protocol.claims import ClaimTable
from training.protocol.claims_database import ClaimsUnavailable
from training.protocol.lease import Lease


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
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
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
            end_lease(uri, "u")
            acquired(other, owner="b")
        return row

    claim = acquired(frozen)
    monkeypatch.setattr(frozen, "_held", freeze)
    with pytest.raises(ClaimLost, match="fence 2"):
        frozen.commit(claim, "run")
    assert next(tries) == 2, "the second try found the claim lost before it could freeze"
    frozen.close()
    other.close()
