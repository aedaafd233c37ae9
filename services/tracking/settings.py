"""Everything that can be set about the stack's MLflow, from `MDMT_…` environment variables. Secrets are files, never variables."""

from pathlib import Path

from pydantic import Field
from sqlalchemy.engine import make_url

from cxr.environment import FromEnvironment


class SecretUnreadable(RuntimeError):
    """A secret's file is absent, empty or not readable for this process."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"secret {path}: {reason}; `make env` writes the files, and they must be readable for user 10001")


def read_secret(path: Path) -> str:
    """The one line of a secret's file. Raises SecretUnreadable."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SecretUnreadable(path, error.strerror or type(error).__name__) from error
    if not secret:
        raise SecretUnreadable(path, "it is empty")
    return secret


class Settings(FromEnvironment):
    """One field per setting, as `FromEnvironment` reads it."""

    database_uri: str = "postgresql+psycopg://mdmt@postgres/mlflow?connect_timeout=5"
    """MLflow's database as an SQLAlchemy URL without a password."""

    database_password_file: Path | None = None
    """File with the password of `database_uri`; default: none is sent."""

    artifacts: str = "/artifacts"
    """Where files of runs and models go: a folder, or s3://bucket/path."""

    tracking_port: int = Field(5000, ge=1, le=65535)
    """Port that the server listens on, on every address of its container."""

    tracking_workers: int = Field(1, ge=1, le=32)
    """Processes of the server; about 0.4 GB each."""

    tracking_hosts: str = "mlflow:5000,localhost:*,127.0.0.1:*"
    """Host headers that are answered, by commas; any other is refused, which stops DNS rebinding. `*` is refused here."""

    tracking_origins: str = "http://localhost:5000,http://127.0.0.1:5000"
    """Origins whose pages may send changes, by commas."""

    tracking_connections: int = Field(20, ge=1)
    """Database connections that one process keeps; as many again for moments."""

    tracking_accounts: bool = False
    """Whether everybody must log in (compose.auth.yml)."""

    admin_password_file: Path = Path("/run/secrets/mlflow_admin_password")
    """Password of MLflow's account `admin`; read when accounts are used."""

    session_key_file: Path = Path("/run/secrets/mlflow_session_key")
    """Key that signs the forms of MLflow's account pages; read when accounts are used."""

    def database(self) -> str:
        """URL of the database with its password. Raises SecretUnreadable."""
        url = make_url(self.database_uri)
        if self.database_password_file is not None:
            url = url.set(password=read_secret(self.database_password_file))
        return url.render_as_string(hide_password=False)
