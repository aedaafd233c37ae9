"""`python -m services.tracking.migrate`: MLflow's tables, made or brought up to date before anything else asks for them.

MLflow makes them by itself, without a lock: eight processes that open one empty database at once spoil it (24 of 24 starts failed).
Here whoever comes second waits, and finds the work done.
"""

import logging
import sys
import time
from collections.abc import Callable
from functools import partial

from mlflow.store.db import utils
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from services.tracking.settings import Settings
from training.store_lock import KEY  # of whoever else makes these tables

PATIENCE_SECONDS, PAUSE_SECONDS = 60.0, 1.0
log = logging.getLogger(__name__)


class DatabaseAway(RuntimeError):
    """The database did not answer in time."""


class NotPostgres(ValueError):
    """Another kind of database, which has no advisory locks."""


def migrate(url: str, accounts: bool, patience: float = PATIENCE_SECONDS) -> None:
    """Make or upgrade MLflow's tables, and those of its accounts when asked. Any number of processes may do it at once.

    Raises DatabaseAway after `patience` seconds without an answer, NotPostgres.
    """
    steps = [_tables, *([_account_tables()] if accounts else [])]  # imports take seconds: before the lock
    engine = create_engine(url)
    if engine.dialect.name != "postgresql":
        raise NotPostgres(f"MDMT_DATABASE_URI names {engine.dialect.name}; allowed: postgresql+psycopg://user@host/name")
    try:
        with _connected(engine, patience) as connection:
            connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": KEY})  # given back when the connection ends
            for step in steps:
                step(engine)
    finally:
        engine.dispose()


def _tables(engine: Engine) -> None:
    # MLflow's own steps: its command `db upgrade` cannot begin with an empty database.
    if utils._is_empty_database(engine):
        utils._initialize_tables(engine)
    else:
        utils._upgrade_db(engine)
    utils._verify_schema(engine)


def _account_tables() -> Callable[[Engine], None]:
    from mlflow.server.auth.db.utils import migrate_if_needed  # imports the whole server

    return partial(migrate_if_needed, revision="head")


def _connected(engine: Engine, patience: float) -> Connection:
    give_up = time.monotonic() + patience
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            if time.monotonic() > give_up:
                raise DatabaseAway(f"no database at {engine.url!r} within {patience:g} s: {error.orig}") from error
            time.sleep(PAUSE_SECONDS)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings()
    try:
        migrate(settings.database(), settings.tracking_accounts)
    except (DatabaseAway, NotPostgres) as error:
        log.error("%s", error)
        sys.exit(1)
    log.info("the tables of MLflow are up to date")


if __name__ == "__main__":
    main()
