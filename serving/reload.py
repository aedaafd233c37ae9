"""Registry → bundle: resolve the alias to a version once, download that version, verify it. The only module that knows MLflow.

MLflow is asked for files only. Its `load_model` functions run code that lies in the artifact, so they are never called.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from cxr.bundle import Bundle, BundleError
from serving.readiness import LoadedBundle, LoadError
from serving.settings import Settings


def registry_loader(settings: Settings) -> Callable[[], LoadedBundle]:
    """A function that loads what the alias points to at the time of the call.

    It raises LoadError when the registry does not answer or has no such alias, BundleError when the files must not be served.
    """
    # MLflow's own retries take four minutes, during which /readyz could not tell why; the service retries by itself.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

    def load() -> LoadedBundle:
        version = _resolve(settings)
        folder = settings.cache_dir / _cache_key(settings, version)
        bundle = _cached(folder, settings.threads) or _downloaded(settings, version, folder)
        return LoadedBundle(bundle, settings.model_name, str(version.version), settings.alias)

    return load


def _client(settings: Settings) -> MlflowClient:
    return MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)


def _resolve(settings: Settings) -> ModelVersion:
    try:
        return _client(settings).get_model_version_by_alias(settings.model_name, settings.alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise LoadError(
                f"the registry has no version of {settings.model_name!r} with the alias {settings.alias!r}: "
                "register one and set the alias"
            ) from error
        raise LoadError(f"the registry does not answer ({error.error_code}): check MLFLOW_TRACKING_URI and the server") from error


def _cache_key(settings: Settings, version: ModelVersion) -> str:
    """Not the version number alone: a registry that was set up anew counts from 1 again."""
    parts = (settings.tracking_uri, version.name, version.version, version.source, version.creation_timestamp)
    return f"v{version.version}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def _cached(folder: Path, threads: int) -> Bundle | None:
    """The bundle if an earlier download of it is still whole; a damaged one is thrown away, to be downloaded again."""
    if not folder.is_dir():
        return None
    try:
        return Bundle(folder, threads)
    except BundleError:
        shutil.rmtree(folder)
        return None


def _downloaded(settings: Settings, version: ModelVersion, folder: Path) -> Bundle:
    """Into a temporary folder first: what stands under the final name was complete and verified once."""
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache_dir, prefix="download-") as temporary:
        try:
            # Not `models:/name/version`: MLflow would look that up in its process-wide registry, not in the one of the settings.
            source = _client(settings).get_model_version_download_uri(version.name, version.version)
            got = download_artifacts(artifact_uri=source, dst_path=temporary, tracking_uri=settings.tracking_uri)
        except MlflowException as error:
            raise LoadError(f"the files of version {version.version} cannot be downloaded ({error.error_code})") from error
        bundle = Bundle(Path(got), settings.threads)
        if not folder.exists():
            Path(got).rename(folder)
    return bundle
