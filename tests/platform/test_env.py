"""`make env`: settings and passwords, written once."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.commands import env

REPO = Path(__file__).parents[2]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A socket that looks like an engine's."""
    place = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{place}")
        yield place


def make_env(folder: Path) -> subprocess.CompletedProcess[str]:
    """As the Makefile runs it: by any Python, with nothing installed."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "services.commands.env", "--folder", str(folder)],
        cwd=REPO, env=os.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_settings_and_passwords_are_written_for_their_owner_alone(engine: Path, tmp_path: Path) -> None:
    done = make_env(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    settings = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines() if not line.startswith("#"))
    assert settings == {
        "MDMT_SECRETS": str(tmp_path / "secrets"), "DOCKER_GID": str(engine.stat().st_gid), "MDMT_DOCKER_SOCKET": str(engine),
    }  # fmt: skip


def test_every_password_is_long_random_and_another(engine: Path, tmp_path: Path) -> None:
    make_env(tmp_path)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(env.SECRETS)
    assert len(set(made.values())) == len(made)
    assert min(map(len, made.values())) >= 40


def test_the_files_can_be_read_by_another_user_who_is_given_one(engine: Path, tmp_path: Path) -> None:
    make_env(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "secrets").iterdir()} == {0o444}


def test_nothing_is_written_over(engine: Path, tmp_path: Path) -> None:
    make_env(tmp_path)
    (tmp_path / ".env").write_text("MDMT_SECRETS=elsewhere\n")
    (tmp_path / "secrets" / "postgres_password").chmod(0o600)
    (tmp_path / "secrets" / "postgres_password").write_text("mine")
    (tmp_path / "secrets" / "mlflow_server").unlink()
    done = make_env(tmp_path)
    assert "left as it is; 1 of 8" in done.stdout
    assert (tmp_path / ".env").read_text() == "MDMT_SECRETS=elsewhere\n"
    assert (tmp_path / "secrets" / "postgres_password").read_text() == "mine"


def test_without_an_engine_nothing_is_written_and_the_places_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_socket", lambda _: False)
    with pytest.raises(env.NoEngine, match="start Docker, or set DOCKER_HOST"):
        env.find_socket()
    assert not list(tmp_path.iterdir())


def test_git_and_the_builder_never_see_settings_or_secrets() -> None:
    ignored = (REPO / ".gitignore").read_text().split("\n")
    assert {".env", "secrets/"} <= set(ignored)
    assert "!secrets" not in (REPO / ".dockerignore").read_text()
