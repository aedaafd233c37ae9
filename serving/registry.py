"""MLflow's registry as a Source: where the alias points, and the files of that version. With `serving.fetching` the only module
that knows MLflow.

MLflow is asked for files only. Its `load_model` functions run code that lies in the artifact, so they are never called. Its client
takes seconds and 150 MB to import: where the alias points is asked over plain HTTP, and a process of its own (`serving.fetching`)
downloads what there is to download. Only registries that are no HTTP server, or need more than a password, have the client in here.
"""

import base64
import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from serving.bundle_cache import BundleCache, Fetch
from serving.fetching import fetched
from serving.readiness import LoadedBundle, LoadError, RegistryAway, Source
from serving.settings import Settings

TIMEOUT_SECONDS = 10
SQLITE = "sqlite:///"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
# What MLflow's client knows to do and a plain request does not.
SPECIAL = (
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_INSECURE_TLS",
)


class Version(NamedTuple):
    """A registered version. `key` names its files on this machine's disk."""

    version: str
    key: str


class _Refused(Exception):
    """The registry answered, and what it said is an error; `code` is MLflow's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def registry_source(settings: Settings) -> Source:
    """Follows the alias of the settings. When the registry does not answer and nothing is served yet, what was served last is loaded
    from this machine's disk."""
    # MLflow's own retries take four minutes, during which nobody could tell why; the service retries by itself.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    registry = Registry(settings)
    return Source(lambda: registry.resolve().key, registry.load, registry.last, registry.keep)


class Registry:
    """One model and alias of one registry."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._cache = settings, BundleCache(settings)
        parts = (settings.tracking_uri, settings.model_name, settings.alias)
        self._place = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def resolve(self) -> Version:
        """Where the alias points. Raises LoadError."""
        try:
            found = self._by_alias()
        except _Refused as error:
            if error.code in ABSENT:
                raise LoadError(
                    f"the registry has no version of {self._settings.model_name!r} with the alias {self._settings.alias!r}: "
                    "register one and set the alias"
                ) from error
            raise RegistryAway(
                f"the registry does not answer ({error.code}): check MLFLOW_TRACKING_URI and the server"
            ) from error
        # Not the version number alone: a registry that was set up anew counts from 1 again.
        parts = (self._settings.tracking_uri, *(str(found[name]) for name in ("name", "version", "source", "creation_timestamp")))
        return Version(str(found["version"]), f"v{found['version']}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}")

    def load(self) -> LoadedBundle:
        """What the alias points to. Raises LoadError and BundleError."""
        version = self.resolve()
        settings = self._settings
        return self._loaded(version, lambda folder: fetched(settings.tracking_uri, settings.model_name, version.version, folder))

    def keep(self, served: LoadedBundle) -> None:
        """Note what is served: `last` gives it from now on."""
        self._cache.remember(self._place, served.version, served.key)

    def last(self) -> LoadedBundle | None:
        """What was served last, from this machine's disk; None when nothing is known. Raises LoadError and BundleError."""
        known = self._cache.last(self._place)
        return None if known is None else self._loaded(Version(*known), _cannot_fetch)

    def _loaded(self, version: Version, fetch: Fetch) -> LoadedBundle:
        bundle, signer = self._cache.bundle(version.key, fetch)
        return LoadedBundle(bundle, self._settings.model_name, version.version, self._settings.alias, signer, version.key)

    def _by_alias(self) -> Mapping[str, Any]:
        name, alias, uri = self._settings.model_name, self._settings.alias, self._settings.tracking_uri
        if urllib.parse.urlsplit(uri).scheme in ("http", "https") and not any(os.environ.get(one) for one in SPECIAL):
            return _ask(uri, "registered-models/alias", {"name": name, "alias": alias})["model_version"]  # type: ignore[no-any-return]
        if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE).partition("?")[0]).is_file():
            raise _Refused("its database file is not there")  # MLflow's client would make an empty one
        from mlflow import MlflowClient

        try:
            found = MlflowClient(tracking_uri=uri, registry_uri=uri).get_model_version_by_alias(name, alias)
        except Exception as error:  # MLflow's, or of whatever its store is made of
            raise _Refused(getattr(error, "error_code", type(error).__name__)) from error
        return {field: getattr(found, field) for field in ("name", "version", "source", "creation_timestamp")}


def _cannot_fetch(folder: Path) -> Path:
    raise RegistryAway("the registry does not answer, and the copy of what was served last is damaged")


def _ask(uri: str, path: str, query: Mapping[str, str]) -> Any:
    """One GET of MLflow's REST interface, with the credentials that MLflow's client would use. Raises _Refused."""
    address = urllib.parse.urlsplit(uri)
    host = address.hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    plain = address._replace(netloc=f"{netloc}:{address.port}" if address.port else netloc).geturl().rstrip("/")
    request = urllib.request.Request(f"{plain}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or urllib.parse.unquote(address.username or "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or urllib.parse.unquote(address.password or "")
    if user:
        request.add_header("Authorization", f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}")
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise _Refused(_code_of(error)) from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise _Refused(type(error).__name__) from error


def _code_of(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error_code"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"HTTP {error.code}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Credentials go to the server that was named, and to no other."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
