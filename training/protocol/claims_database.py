"""The database under the claims: one table, one clock, and transactions that outlive a restart of the server.

A SQLite file or PostgreSQL, named by its SQLAlchemy URL; usually the database in which MLflow keeps its own tables, which are never
touched or migrated from here. Every change is one short transaction that first takes the lock it needs (`BEGIN IMMEDIATE` on SQLite,
`SELECT … FOR UPDATE` of the row on PostgreSQL), so a transaction never has to be undone because somebody else was quicker.

SQLite has one lock for the whole file: a process that is frozen in the millisecond of a transaction keeps all others waiting until it
goes on or is killed. PostgreSQL ends its session after FROZEN_SECONDS. With many workers, or more than one machine: PostgreSQL.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import JSON, Column, Float, Integer, MetaData, NullPool, Table, Text, create_engine, inspect, literal_column, text
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.schema import CreateTable

CLAIMS = Table(
    "mdmt_claims",
    MetaData(),
    Column("unit", Text, primary_key=True),  # fingerprint
    Column("fence", Integer, nullable=False),  # successful acquisitions so far
    Column("owner", Text),  # null: nobody holds it
    Column("lease_ends", Float),  # seconds since 1970 by the database's clock
    Column("run", Text),  # MLflow run of the latest attempt
    Column("committed", Text),  # MLflow run that is the result
    Column("quarantine", Text),  # why nobody may try again
    Column("failures", JSON, nullable=False),  # {"counts": {kind: n}, "last": [{"kind", "reason", "fence"}]}
)
CLOCKS = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    # Not now(): that is the start of the transaction, and a transaction may have waited for a lock since.
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
}
CREATION_LOCK = 0x6D646D74  # PostgreSQL advisory lock: CREATE TABLE IF NOT EXISTS alone fails when two sessions create at once
BUSY_SECONDS = 30  # how long SQLite waits for another process's transaction
FROZEN_SECONDS = 10  # PostgreSQL ends the session of a client that froze inside a transaction, and so frees its row
LONGEST_PAUSE = 1.0  # between two tries, seconds

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class ClaimsUnavailable(RuntimeError):
    """The database of the claims does not answer, or refuses. Says what it said and what to check."""


class ClaimsDatabase:
    """Connections to the table `mdmt_claims`, which is created when missing: any number of processes may start at once.

    `patience_seconds` bounds how long a call goes on trying while the server is down, restarting or busy. Raises ValueError for a
    URL that is neither a SQLite file nor psycopg, ClaimsUnavailable when the database cannot be used.
    """

    def __init__(self, uri: str, patience_seconds: float) -> None:
        self.url = _checked(uri)
        self.patience_seconds = patience_seconds
        self.dialect = self.url.get_backend_name()
        self.now = literal_column(CLOCKS[self.dialect], Float)
        self._engine = _engine(self.url)
        self.write(self._create)

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(connection, …)` in a transaction that holds the write lock; returns what it returns.

        After a lost connection the work is done again, although the first try may have been committed: it must bear that.
        """
        return self._persist(self.patience_seconds, True, lambda connection: work(connection, *args, **kwargs))

    def write_once(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same with a single try, for callers that have a rhythm of their own."""
        return self._persist(0, True, lambda connection: work(connection, *args, **kwargs))

    def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work(connection, …)`, which only reads: it neither waits for writers nor keeps them waiting."""
        return self._persist(self.patience_seconds, False, lambda connection: work(connection, *args, **kwargs))

    def close(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()

    def _persist(self, patience: float, writing: bool, work: Callable[[Connection], T]) -> T:
        give_up, pause = time.monotonic() + patience, 0.05
        while True:
            try:
                with self._engine.begin() as connection:
                    if writing and self.dialect == "sqlite":
                        connection.exec_driver_sql("BEGIN IMMEDIATE")
                    return work(connection)
            except (DBAPIError, PoolExhausted) as error:
                if not _transient(error) or time.monotonic() + pause > give_up:
                    raise self._unavailable(error) from error
                log.info("claims: %s; trying again", _first_line(error))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _create(self, connection: Connection) -> None:
        if self.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CREATION_LOCK})
        if not inspect(connection).has_table(CLAIMS.name):
            connection.execute(CreateTable(CLAIMS))

    def _unavailable(self, error: Exception) -> ClaimsUnavailable:
        need = {
            "sqlite": "the folder must exist on a local disk with free space, and file and folder must be writable",
            "postgresql": f"the server must run, and its user must be allowed to create and write the table {CLAIMS.name}",
        }[self.dialect]
        found = self.url.render_as_string(hide_password=True)
        return ClaimsUnavailable(f"the claims on units in {found} cannot be used: {_first_line(error)}; {need}")


def _checked(uri: str) -> URL:
    allowed = "allowed: sqlite:////path/to/file.db or postgresql+psycopg://user@host/database"
    try:
        url = make_url(uri)
    except ArgumentError as error:
        raise ValueError(f"the claims on units need the URL of a database; {allowed}") from error
    backend = url.get_backend_name()
    if backend == "postgresql" and url.get_driver_name() == "psycopg":
        return url
    if backend == "sqlite" and url.get_driver_name() == "pysqlite" and url.database not in (None, "", ":memory:"):
        return url
    found = url.render_as_string(hide_password=True)
    raise ValueError(f"{found} cannot hold the claims on units; {allowed} (MLflow's backend store, not its http address)")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        # isolation_level None: the driver opens no transaction by itself, BEGIN IMMEDIATE does. No pool: opening a file costs nothing.
        return create_engine(url, poolclass=NullPool, connect_args={"isolation_level": None, "timeout": BUSY_SECONDS})
    arguments: dict[str, Any] = {
        "connect_timeout": 5,
        "options": f"-c idle_in_transaction_session_timeout={FROZEN_SECONDS * 1000}",
        "keepalives_idle": 10,
        "tcp_user_timeout": 20_000,  # milliseconds: a server that vanished without a word is noticed
    }
    return create_engine(url, pool_pre_ping=True, connect_args=arguments)


def _transient(error: Exception) -> bool:
    if not isinstance(error, DBAPIError):
        return True
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the low byte is the primary code
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return isinstance(error, OperationalError) or error.connection_invalidated


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
