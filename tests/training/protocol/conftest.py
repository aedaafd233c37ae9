"""A claim table on SQLite and on PostgreSQL, and what makes a lease on it end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer, postgres_server  # noqa: F401 - a fixture
from tests.training.protocol.claim_tables import end_lease
from training.protocol.claims import ClaimTable


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
    return lambda unit: end_lease(uri, unit)
