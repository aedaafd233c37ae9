"""One process at a time, where MLflow itself locks nothing: when it makes its tables, or somebody looks whether a thing is there and
makes it, or moves an alias.

The lock lies where the database is, so that processes with different homes share it: a file beside an SQLite file, an advisory lock in
PostgreSQL. A process that dies gives it up. It is not reentrant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError

WAIT_SECONDS = 300  # whoever holds it longer is frozen: making all tables takes seconds
KEY = 0x6D646D75  # of the advisory lock; the claims have another


class StoreBusy(RuntimeError):
    """Another process has held the lock for WAIT_SECONDS."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"another process has held the lock on {where} for {WAIT_SECONDS} seconds: find one that is frozen, end it, and try again"
        )


@contextmanager
def one_at_a_time(database: str, otherwise: Path) -> Iterator[None]:
    """Hold the lock of a database, named by its SQLAlchemy URL; of anything else, that of the file `otherwise`.

    Raises StoreBusy, and SQLAlchemy's OperationalError when PostgreSQL does not answer.
    """
    url = _url(database)
    if url is not None and url.get_backend_name() == "postgresql":
        with _advisory(url):
            yield
        return
    is_file = url is not None and url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    lock = FileLock(f"{url.database}.lock" if url is not None and is_file else otherwise, timeout=WAIT_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreBusy(str(lock.lock_file)) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _advisory(url: URL) -> Iterator[None]:
    # Autocommit: a transaction left open for as long as the lock is held would hold back vacuum, and servers end such sessions.
    engine = create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{WAIT_SECONDS}s'"))
        try:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": KEY})
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
                raise StoreBusy(url.render_as_string(hide_password=True)) from error
            raise
        yield  # the lock ends with the connection


def _url(database: str) -> URL | None:
    try:
        return make_url(database)
    except ArgumentError:
        return None
