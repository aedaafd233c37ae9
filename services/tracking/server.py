"""How this machine's own MLflow is shown: the UI over the SQLite file, on loopback, without what we do not use."""

import os
import subprocess
import sys
from pathlib import Path

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes, 0.65 GB and an API, for features that nobody asks for here
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


class NothingTracked(RuntimeError):
    """There is no tracking database to show yet."""


def ui_command(home: Path, port: int) -> list[str]:
    """The command that serves the UI."""
    database, artifacts = (home / "mlflow.db").resolve(), (home / "artifacts").resolve()
    return [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{database}", "--default-artifact-root",
        artifacts.as_uri(), "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
    ]  # fmt: skip


def serve_ui(home: Path, port: int) -> None:
    """Serve the UI until interrupted. Raises NothingTracked when there is nothing to show."""
    if not (home / "mlflow.db").is_file():
        raise NothingTracked(f"no tracking database in {home}: run a recipe first, for example `mdmt run --recipe demo`")
    subprocess.run(ui_command(home, port), env=os.environ | SETTINGS, check=False)
