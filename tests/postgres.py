"""A private PostgreSQL server for the tests: an empty cluster in a temporary folder, on a free port of 127.0.0.1, gone at the end.

`from tests.postgres import postgres_server, postgres_uri` makes the fixtures known to a test module or a conftest. Tests that use
them are skipped, with the reason, where PostgreSQL is not installed (Debian: `apt-get install postgresql`).
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

USER = "mdmt"
STOP = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}  # immediate: no check point, no farewell, as after a crash


class PostgresServer:
    """One server process. `folder` must be empty and reachable for the user that the server runs as: it refuses to be root."""

    def __init__(self, binaries: Path, folder: Path, user: str | None) -> None:
        self._binaries, self._folder = binaries, folder
        self._as: dict[str, Any] = {}
        if user is not None:
            entry = pwd.getpwnam(user)
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        self._numbers = count(1)
        self.port = free_port()
        options = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", f"--username={USER}"]
        initdb = [binaries / "initdb", "-D", folder / "data", *options]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **self._as)
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        # -F, no fsync: what a dead process has written is safe in the kernel; only a power cut would lose it, and none is played here.
        places = ["-F", "-D", self._folder / "data", "-k", self._folder, "-p", str(self.port), "-h", "127.0.0.1"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", *places], stdout=log, stderr=log, cwd=self._folder, **self._as
            )
        give_up = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"PostgreSQL does not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server ("fast": in order; "immediate": like a crash) and wait until it is gone."""
        self._process.send_signal(STOP[mode])
        self._process.wait(timeout=30)

    def uri(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """SQLAlchemy URL of a new, empty database."""
        name = f"test{next(self._numbers)}"
        with self._connect(autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.uri(name)

    def _connect(self, **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(host="127.0.0.1", port=self.port, user=USER, dbname="postgres", connect_timeout=5, **options)

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, for tests that stop and start it or want databases of their own."""
    binaries, user = _binaries(), None
    if os.geteuid() == 0:
        user = _unprivileged()
    # Not pytest's own folder: that belongs to root alone when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="mdmt-postgres-"))
    try:
        server = PostgresServer(binaries, folder, user)
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_uri(postgres_server: PostgresServer) -> str:
    """SQLAlchemy URL of one empty database, shared by the session."""
    return postgres_server.new_database()


def _binaries() -> Path:
    found = shutil.which("initdb") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed: there is no initdb (Debian: apt-get install postgresql)")
    return Path(found).resolve().parent


def _unprivileged() -> str:
    users = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in users:
            return name
    pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
