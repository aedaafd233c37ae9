"""The few calls of a container engine that workers and stages need; `DOCKER_HOST` names the launcher, or a socket.

An engine that is away for a moment (the launcher starts again) is asked again; what it refuses is raised as it says it.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Lock
from typing import Any, TypeVar

from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from requests.exceptions import RequestException

import docker
from services.executors.executor import NoSuchDevice, WorkersFail

PATIENCE_SECONDS, PAUSE_SECONDS, ANSWER_SECONDS = 60.0, 1.0, 60
AWAY = (502, 503, 504)
LOG_BYTES = 20 << 20
NO_GPU = "could not select device driver"
log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class End:
    """Exit code as a shell counts it, and whether the kernel killed it for its memory."""

    code: int
    out_of_memory: bool


class Engine:
    """A container engine, connected to when it is first asked. Containers are named; a name is that of one container at a time."""

    def __init__(self, stop: Flag | None = None) -> None:
        """Once `stop` is set, an engine that is away is not waited for."""
        self._stop = stop or Flag()
        self._connected: docker.DockerClient | None = None
        self._lock = Lock()

    @property
    def _client(self) -> docker.DockerClient:
        with self._lock:
            if self._connected is None:
                self._connected = docker.from_env(timeout=ANSWER_SECONDS)
            return self._connected

    def image_id(self, name: str) -> str:
        """Id of an image that the engine has. Raises WorkersFail."""
        try:
            return str(self._patiently(lambda: self._client.images.get(name)).id)
        except ImageNotFound as error:
            raise WorkersFail(
                f"the engine has no image {name!r}: build it (`docker compose build`), or set MDMT_UNIT_IMAGE"
            ) from error
        except APIError as error:
            raise WorkersFail(f"the engine refuses image {name!r}: {error.explanation or error}") from error

    def labelled(self, labels: Mapping[str, str]) -> dict[str, Container]:
        """Containers with these labels, running or not, by name."""
        wanted = {"label": [f"{name}={value}" for name, value in labels.items()]}
        return {
            c.name: c
            for c in self._patiently(lambda: self._client.containers.list(all=True, filters=wanted, ignore_removed=True))
        }

    def start(self, name: str, **options: Any) -> None:
        """Create and start a container (options of the SDK's `containers.create`); one of that name from before is removed.

        Raises NoSuchDevice, WorkersFail with what the engine says.
        """
        try:
            self.remove(name)
            self._patiently(lambda: self._create(name, options))
            self._patiently(lambda: self._client.containers.get(name).start())
        except APIError as error:
            said = str(error.explanation or error)
            self.remove(name)
            if NO_GPU in said:
                raise NoSuchDevice(f"the recipe asks for device 'cuda' and the engine has no GPUs to give: {said}") from error
            raise WorkersFail(f"the engine does not start container {name}: {said}") from error

    def _create(self, name: str, options: Mapping[str, Any]) -> None:
        try:
            self._client.containers.create(name=name, use_config_proxy=False, **options)
        except APIError as error:
            # An answer that got lost: it is there, and was not before.
            if error.status_code != 409 or not self._is_there(name):
                raise

    def _is_there(self, name: str) -> bool:
        try:
            self._client.containers.get(name)
        except NotFound:
            return False
        return True

    def end(self, name: str) -> End | None:
        """How it ended; None while it runs, and while nobody can say."""
        try:
            state = self._client.containers.get(name).attrs["State"]
        except NotFound:
            return End(137, False)  # somebody has removed it
        except (DockerException, RequestException) as error:
            log.warning("container %s: %s", name, error)
            return None
        if state["Status"] not in ("exited", "dead"):
            return None
        return End(state["ExitCode"], state["OOMKilled"] and state["ExitCode"] != 0)

    def kill(self, name: str, signal: str = "SIGKILL") -> None:
        """No error when it has ended, or is not there."""
        try:
            self._patiently(lambda: self._client.containers.get(name).kill(signal))
        except APIError as error:
            if error.status_code not in (404, 409):
                raise

    def save_log(self, name: str, path: Path) -> None:
        """All it printed (bounded), into a file."""
        try:
            pieces = self._client.containers.get(name).logs(stream=True, follow=False, tail="all")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for piece in pieces:
                    if file.tell() > LOG_BYTES:
                        break
                    file.write(piece)
        except (DockerException, RequestException, OSError) as error:
            log.warning("the log of container %s is not kept: %s", name, error)

    def remove(self, name: str) -> None:
        """Also when it runs; no error when it is not there. Returns when it is gone."""
        try:
            self._patiently(lambda: self._client.containers.get(name).remove(force=True))
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409:  # somebody else removes it at this moment
                raise

    def _patiently(self, call: Callable[[], Result]) -> Result:
        """Until the engine answers. Raises WorkersFail when it does not for a minute, APIError for what it refuses."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return call()
            except (DockerException, RequestException) as error:
                if isinstance(error, APIError) and error.status_code not in AWAY:
                    raise
                if self._stop.is_set() or time.monotonic() > give_up:
                    raise WorkersFail(f"no container engine answers: {error}; DOCKER_HOST names it") from error
                log.warning("the container engine is away, asking again: %s", error)
                self._stop.wait(PAUSE_SECONDS)
