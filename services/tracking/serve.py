"""`python -m services.tracking.serve`: the stack's MLflow server, with every door closed that nobody here uses."""

import os
import sys
import tempfile
from pathlib import Path

from services.tracking.server import SETTINGS
from services.tracking.settings import Settings, read_secret

CLOSED = SETTINGS | {
    "MLFLOW_SERVER_X_FRAME_OPTIONS": "DENY",
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    "MLFLOW_ALLOW_FILE_STORE": "false",
    # A version's source is a model that lies here: not a web address, not a path of the server.
    "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": r"^(models:/m-[0-9a-f]{32}|mlflow-artifacts:/[\w./-]+)$",
}
ACCOUNTS = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {database}
admin_username = admin
auth_cache_ttl_seconds = 60
"""


class OpenToAll(ValueError):
    """A setting would switch a protection off."""


def command(settings: Settings) -> list[str]:
    """The server's command line: no secret is on it, for everybody can read those."""
    accounts = ["--app-name", "basic-auth"] if settings.tracking_accounts else []
    return [
        sys.executable, "-m", "mlflow", "server", "--host", "0.0.0.0", "--port", str(settings.tracking_port), "--workers",
        str(settings.tracking_workers), "--artifacts-destination", settings.artifacts, "--serve-artifacts", *accounts,
    ]  # fmt: skip


def environment(settings: Settings, folder: Path) -> dict[str, str]:
    """What the server reads from its environment; files that it needs are written to `folder`, for this user alone.

    Raises OpenToAll for hosts or origins that are everybody, SecretUnreadable.
    """
    for name, value in (("MDMT_TRACKING_HOSTS", settings.tracking_hosts), ("MDMT_TRACKING_ORIGINS", settings.tracking_origins)):
        if "*" in [one.strip() for one in value.split(",")]:
            raise OpenToAll(f"{name} is {value!r}: * lets every web page in; name the hosts, such as mlflow.example.org:443")
    database = settings.database()
    found = CLOSED | {
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_SERVER_ALLOWED_HOSTS": settings.tracking_hosts,
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": settings.tracking_origins,
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": str(settings.tracking_connections),
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": str(settings.tracking_connections),
        "MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE": "1800",
    }
    if settings.tracking_accounts:
        config = folder / "accounts.ini"
        config.touch(mode=0o600)
        config.write_text(ACCOUNTS.format(database=database.replace("%", "%%")), encoding="utf-8")
        found |= {
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_AUTH_ADMIN_PASSWORD": read_secret(settings.admin_password_file),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": read_secret(settings.session_key_file),
        }
    return found


def main() -> None:
    """Become the server: it gets the container's signals itself."""
    settings = Settings()
    line = command(settings)
    os.execvpe(line[0], line, os.environ | environment(settings, Path(tempfile.mkdtemp())))


if __name__ == "__main__":
    main()
