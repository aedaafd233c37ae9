"""How the stack's MLflow is started, asked for its health, and given its tables."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from services.tracking import health, migrate, serve
from services.tracking.settings import SecretUnreadable, Settings
from tests.postgres import PostgresServer, free_port, postgres_server  # noqa: F401

REPO = Path(__file__).parents[2]


def secret(folder: Path, text: str = "se/cr%et\n") -> Path:
    path = folder / "secret"
    path.write_text(text)
    return path


def test_the_password_comes_from_its_file_and_stands_in_the_url_only(tmp_path: Path) -> None:
    settings = Settings(database_password_file=secret(tmp_path))
    assert settings.database() == "postgresql+psycopg://mdmt:se%2Fcr%25et@postgres/mlflow?connect_timeout=5"
    assert "se/cr" not in repr(settings) + " ".join(serve.command(settings))


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_an_absent_or_empty_secret_is_named_with_what_to_do(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "absent" if text is None else secret(tmp_path, text)
    with pytest.raises(SecretUnreadable, match=f"{path}: .*; `make env`"):
        Settings(database_password_file=path).database()


def test_every_door_that_nobody_uses_is_closed(tmp_path: Path) -> None:
    found = serve.environment(Settings(), tmp_path)
    assert found["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == found["MLFLOW_ALLOW_HTTP_REDIRECTS"] == "false"
    assert found["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == found["MLFLOW_ALLOW_FILE_STORE"] == "false"
    assert found["MLFLOW_SERVER_X_FRAME_OPTIONS"] == "DENY"
    assert found["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE" not in found
    assert "mlflow:5000" in found["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert not {"--gunicorn-opts", "--waitress-opts"} & set(serve.command(Settings()))  # they switch the middleware off


@pytest.mark.parametrize("setting", ["tracking_hosts", "tracking_origins"])
@pytest.mark.parametrize("value", ["*", "mlflow:5000, *"])
def test_a_star_for_hosts_or_origins_is_refused(tmp_path: Path, setting: str, value: str) -> None:
    with pytest.raises(serve.OpenToAll, match=r"lets every web page in"):
        serve.environment(Settings(**{setting: value}), tmp_path)


def test_with_accounts_the_server_has_no_default_rights_and_its_files_are_its_own(tmp_path: Path) -> None:
    settings = Settings(
        database_password_file=secret(tmp_path), tracking_accounts=True, admin_password_file=secret(tmp_path),
        session_key_file=secret(tmp_path),
    )  # fmt: skip
    found = serve.environment(settings, tmp_path)
    config = Path(found["MLFLOW_AUTH_CONFIG_PATH"])
    assert config.stat().st_mode & 0o077 == 0
    assert "default_permission = NO_PERMISSIONS" in config.read_text()
    assert found["MLFLOW_AUTH_ADMIN_PASSWORD"] == found["MLFLOW_FLASK_SERVER_SECRET_KEY"] == "se/cr%et"
    assert "basic-auth" in serve.command(settings)


@contextmanager
def answering(status: int, body: bytes, seen: list[str]) -> Iterator[str]:
    """A server that answers every POST so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(f"{self.path} {self.headers.get('Authorization', '')}")
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_health_is_the_answer_to_a_query(tmp_path: Path) -> None:
    seen: list[str] = []
    with answering(200, b"{}", seen) as url:
        assert health.ask(url) is None
        assert health.ask(url, secret(tmp_path, "pass")) is None
    assert seen == ["/api/2.0/mlflow/experiments/search ", "/api/2.0/mlflow/experiments/search Basic YWRtaW46cGFzcw=="]


@pytest.mark.parametrize(("status", "body"), [(503, b""), (401, b""), (200, b"<html>")])
def test_anything_else_than_an_answer_is_unhealthy_and_says_why(status: int, body: bytes) -> None:
    with answering(status, body, []) as url:
        assert (health.ask(url) or "").startswith("MLflow ")


def test_nobody_listening_is_unhealthy() -> None:
    assert "refused" in (health.ask(f"http://127.0.0.1:{free_port()}") or "")


def test_the_health_check_imports_the_standard_library_alone() -> None:
    """It runs every four seconds."""
    watch = (
        "import sys; import services.tracking.health; sys.exit(bool({'mlflow', 'pydantic', 'sqlalchemy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", watch], cwd=REPO, timeout=60, check=False).returncode == 0


def test_a_database_that_stays_away_is_named_without_its_password() -> None:
    url = f"postgresql+psycopg://mdmt:hidden@127.0.0.1:{free_port()}/mlflow?connect_timeout=2"
    with pytest.raises(migrate.DatabaseAway, match="no database at") as raised:
        migrate.migrate(url, accounts=False, patience=0)
    assert "hidden" not in str(raised.value)


def test_a_database_without_advisory_locks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(migrate.NotPostgres, match="allowed: postgresql"):
        migrate.migrate(f"sqlite:///{tmp_path / 'mlflow.db'}", accounts=False)


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM experiments")).scalar() in (0, 1)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sixteen_processes_on_one_empty_database_all_start_and_a_second_migration_changes_nothing(
    postgres_server: PostgresServer,  # noqa: F811
) -> None:
    url = postgres_server.new_database()
    settings = os.environ | {"MDMT_DATABASE_URI": url, "MDMT_TRACKING_ACCOUNTS": "true"}
    command = [sys.executable, "-m", "services.tracking.migrate"]
    started = [subprocess.Popen(command, cwd=REPO, env=settings, stderr=subprocess.PIPE, text=True) for _ in range(16)]
    ended = [(process.communicate(timeout=850)[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0] * 16, [said[-500:] for said, code in ended if code]
    made = tables(url)
    assert {"runs", "registered_model_aliases", "users", "role_permissions"} <= made
    assert subprocess.run(command, cwd=REPO, env=settings, timeout=120, check=False).returncode == 0
    assert tables(url) == made
