"""What is being served, or the reason why nothing is."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cxr.bundle import Bundle, BundleError
from serving.answers import PredictionAnswer
from serving.errors import ProblemError

log = logging.getLogger("serving")


class LoadError(RuntimeError):
    """The registry gave no bundle. The text is shown to callers of `/readyz`: no addresses, no credentials."""


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle and the name under which the registry holds it."""

    bundle: Bundle
    name: str
    version: str
    alias: str


class Readiness:
    """Loads in the background until a bundle has answered its golden case; only then `current` gives it out.

    `load` runs on a thread of its own that never holds up the end of the process: a registry that does not answer must neither
    block `/livez` nor a shutdown.
    """

    def __init__(self, load: Callable[[], LoadedBundle], retry_seconds: float) -> None:
        self._load = load
        self._retry_seconds = retry_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep_trying, name="bundle-loader", daemon=True)
        self.loaded: LoadedBundle | None = None
        self.reason = "the bundle is still being loaded"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=1)

    def current(self) -> LoadedBundle:
        """The bundle that answers now. Raises ProblemError `not-ready` with the reason."""
        loaded = self.loaded
        if loaded is None:
            raise ProblemError("not-ready", f"No bundle is served: {self.reason}.", retry_after=self._retry_seconds)
        return loaded

    def _keep_trying(self) -> None:
        while not self._stopped.is_set():
            try:
                loaded = self._load()
                _check(loaded)
            except (BundleError, LoadError) as error:
                self.reason = str(error)
                log.warning("bundle not served: %s", error)
            except Exception as error:  # whatever a registry or a graph does, the process stays up and says so
                self.reason = f"loading failed with {type(error).__name__}; the service's log has the details"
                log.exception("bundle not served")
            else:
                self.loaded = loaded
                log.info("serving %s version %s (%s)", loaded.name, loaded.version, loaded.bundle.digest[:12])
                return
            self._stopped.wait(self._retry_seconds)


def _check(loaded: LoadedBundle) -> None:
    """Raises BundleError unless the golden case comes out as recorded and every task can be named in the answer."""
    taken = sorted({task.name for task in loaded.bundle.tasks} & set(PredictionAnswer.model_fields))
    if taken:
        raise BundleError(f"task name {', '.join(taken)} is a field of every answer: rename it and register the bundle again")
    loaded.bundle.check_golden()
