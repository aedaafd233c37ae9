"""Where claims may live, and what is said of a database that cannot hold them or is not there."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.training.protocol.claim_tables import acquired
from training.protocol.claims import ClaimTable
from training.protocol.claims_database import ClaimsUnavailable


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
