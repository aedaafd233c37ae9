"""The files of a registered version, fetched by a process of its own: MLflow's client takes 150 MB that the service would never give back.

`python -m serving.fetching URI NAME VERSION FOLDER` writes one JSON line: `{"path": …}`, `{"away": …}` where the registry or the store
does not answer, or `{"says": …, "kind": …}` for what no bundle is.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from cxr.manifest import BundleError, check_sizes
from serving.readiness import RegistryAway

log = logging.getLogger("serving")
SECONDS = 900  # for the largest bundle there may be over a slow line


def fetched(uri: str, name: str, version: str, folder: Path) -> Path:
    """Download the files into `folder`; where they are. Raises RegistryAway and BundleError."""
    command = [sys.executable, "-m", "serving.fetching", uri, name, version, str(folder)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
        found = json.loads(done.stdout.decode().splitlines()[-1])
    except subprocess.TimeoutExpired:
        found = {"away": f"no end after {SECONDS} s"}
    except (IndexError, ValueError):
        log.warning("fetching version %s said: %s", version, done.stderr.decode(errors="replace")[-2000:])
        found = {"away": f"its process ended with code {done.returncode}"}
    if "says" in found:
        raise BundleError(found["says"], found["kind"])
    if "away" in found:
        raise RegistryAway(f"the files of version {version} cannot be downloaded ({found['away']})")
    return Path(found["path"])


def _fetch(uri: str, name: str, version: str, folder: str) -> dict[str, str]:
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts, list_artifacts
    from mlflow.exceptions import MlflowException

    try:
        # Not `models:/name/version`: MLflow would look that up in its process-wide registry, not in the one of the settings.
        source = MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version_download_uri(name, version)
        files = list_artifacts(artifact_uri=source, tracking_uri=uri)
        if inner := [file.path for file in files if file.is_dir]:
            raise BundleError(f"version {version} holds folders ({len(inner)}); a bundle is one folder of files", "hostile")
        check_sizes({Path(file.path).name: int(file.file_size or 0) for file in files})
        return {"path": download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=uri)}
    except (MlflowException, OSError) as error:
        return {"away": str(getattr(error, "error_code", type(error).__name__))}
    except BundleError as error:
        return {"says": str(error), "kind": error.kind}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_fetch(*sys.argv[1:])) + "\n")
