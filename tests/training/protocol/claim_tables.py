"""What tests do with a claim table beside calling it."""

from sqlalchemy import create_engine, text

from training.protocol.claim import Claim
from training.protocol.claims import ClaimTable


def end_lease(uri: str, unit: str) -> None:
    engine = create_engine(uri)
    with engine.begin() as connection:
        connection.execute(text("UPDATE mdmt_claims SET lease_ends = 0 WHERE unit = :unit"), {"unit": unit})
    engine.dispose()


def acquired(table: ClaimTable, unit: str = "u", owner: str = "a") -> Claim:
    claim = table.acquire(unit, owner)
    assert isinstance(claim, Claim), claim
    return claim
