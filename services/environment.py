"""What is read from the environment: by libraries when they are imported (no telemetry, no four-minute retries, no spinning threads, no
hub, reproducible products on a GPU), and where this installation's state and tracking are."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.tracking import Tracking

DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "HF_HUB_OFFLINE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it `deterministic` raises on a GPU
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
}


def set_defaults() -> None:
    """Call it before any of them is imported; what the user has set stays."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def home() -> Path:
    """Folder of the state: MDMT_HOME, default `state`."""
    return Path(os.environ.get("MDMT_HOME", "state"))


def tracking() -> "Tracking":
    """The server of MLFLOW_TRACKING_URI, or an SQLite file in the home. Raises TrackingError."""
    from training.tracking import Tracking, default_uri

    return Tracking(os.environ.get("MLFLOW_TRACKING_URI") or default_uri(home()), home())
