"""Steps of a run's life in MLflow, each safe to repeat: whoever is cut off in the middle does the whole step again."""

import errno
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from sqlalchemy.exc import DBAPIError

FILES = "mdmt.files"  # tag: {file name: bytes} of everything the run must hold
PRUNED = "mdmt.pruned"  # tag: weights were dropped after the last unit that starts from them
PASSING_CODES = (
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "DEADLINE_EXCEEDED",
    "ABORTED",
    "CANCELLED",
)


def is_passing(error: BaseException) -> bool:
    """Whether trying again can help: a server that is away, slow or overloaded, a locked database, a full disk; not a refusal."""
    if isinstance(error, MlflowException):
        return error.error_code in PASSING_CODES
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return isinstance(error, requests.RequestException | DBAPIError | ConnectionError | TimeoutError)


def open_run(client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
    """A new run with its parameters; returns its id."""
    run = client.create_run(experiment_id, tags={**tags, **provenance()}, run_name=name)
    client.log_batch(run.info.run_id, params=[Param(key, str(value)[:6000]) for key, value in params.items()])
    return str(run.info.run_id)


def is_there(client: MlflowClient, run_id: str) -> bool:
    """Whether a run exists and is not deleted."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def unended(client: MlflowClient, fingerprint: str) -> list[str]:
    """Runs of a unit that nobody ended, of every experiment: those of attempts that were cut off."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.`mdmt.fingerprint` = '{fingerprint}' and attributes.status = 'RUNNING'"
    return [str(run.info.run_id) for run in client.search_runs(experiments, wanted)]


def files_of(client: MlflowClient, run: Run) -> ArtifactRepository:
    """Where the run's files are, without asking the tracking server again for every one of them."""
    return get_artifact_repository(run.info.artifact_uri, tracking_uri=client.tracking_uri)


def upload(client: MlflowClient, run_id: str, folder: Path, sizes: Mapping[str, int]) -> None:
    """Files that are not there in full size yet. Raises ConnectionError, to be repeated, when one did not arrive whole."""
    files = files_of(client, client.get_run(run_id))
    present = _listed(files)
    for name, size in sizes.items():
        if present.get(name) != size:
            files.log_artifact(str(folder / name))
    present = _listed(files)
    if short := [name for name, size in sizes.items() if present.get(name) != size]:
        raise ConnectionError(f"{', '.join(short)} did not arrive whole in the artifact store of run {run_id}")


def _listed(files: ArtifactRepository) -> dict[str, int]:
    return {item.path: int(item.file_size) for item in files.list_artifacts() if not item.is_dir}


def local_copy(client: MlflowClient, run: Run, name: str, cache: Path) -> Path:
    """Path of one file of a run: in the store when that is a folder of this machine, else a copy that is kept in `cache`."""
    files = files_of(client, run)
    if isinstance(files, LocalArtifactRepository):
        return Path(files.artifact_dir) / name
    copy = cache / str(run.info.run_id)
    if not (copy / name).is_file():
        copy.mkdir(parents=True, exist_ok=True)
        files.download_artifacts(name, str(copy))
    return copy / name


def log(client: MlflowClient, run_id: str, metrics: Sequence[Metric], tags: Mapping[str, str]) -> None:
    client.log_batch(run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in tags.items()])


def close(client: MlflowClient, run_id: str, status: str, reason: str = "") -> None:
    """End a run: FINISHED, FAILED or KILLED, with the reason as its description."""
    if reason:
        client.set_tag(run_id, "mlflow.note.content", reason[:4000])
    client.set_terminated(run_id, status)


def is_readable(client: MlflowClient, run: Run) -> bool:
    """Whether every file that the run's own list names is in the artifact store, in full size; pruned weights are not missed."""
    text = run.data.tags.get(FILES)
    if text is None:
        return False
    present = _listed(files_of(client, run))
    wanted = json.loads(text)
    dropped = pruned(run)
    return all(present.get(name) == size for name, size in wanted.items() if name not in dropped)


def pruned(run: Run) -> list[str]:
    """Files that were dropped on purpose."""
    return json.loads(run.data.tags.get(PRUNED, "[]"))  # type: ignore[no-any-return]


def prune(client: MlflowClient, run: Run, name: str) -> None:
    """Drop one file of a run, and say so in a tag first."""
    if name in pruned(run) or name not in json.loads(run.data.tags.get(FILES, "{}")):
        return
    client.set_tag(run.info.run_id, PRUNED, json.dumps([*pruned(run), name]))
    files_of(client, run).delete_artifacts(name)


def metrics_of(figures: Mapping[str, float], step: int, at: int | None = None) -> list[Metric]:
    """Figures → MLflow metrics of one step; `at` in milliseconds since 1970, default now."""
    moment = int(time.time() * 1000) if at is None else at
    return [Metric(key, float(value), moment, step) for key, value in figures.items()]


def provenance() -> dict[str, str]:
    """Tags that say which code and versions made a run."""
    versions = {f"mdmt.version.{name}": metadata.version(name) for name in ("torch", "mlflow", "onnxruntime", "numpy")}
    return {"mdmt.git_commit": git_commit(), "mdmt.version.python": platform.python_version(), **versions}


@cache
def git_commit() -> str:
    """Commit of the code that runs, "+changes" when the work tree differed at the first call. Outside a checkout what MDMT_COMMIT says,
    which an image is built with, or "unknown"."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("MDMT_COMMIT") or "unknown"
    return commit + ("+changes" if changed else "")
