"""What is being served, or the reason why nothing is; and how what is served follows what the source says is to be served."""

import logging
import math
import random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cxr.bundle import Bundle
from cxr.manifest import BundleError
from serving.allocator import give_back
from serving.errors import ProblemError

log = logging.getLogger("serving")
REFUSED_SECONDS = 600  # then a refused version is tried once more: a machine that was busy makes a version look slow
FIRST_ANSWERS, FAILED_SHARE, FAILED_IN_A_ROW = 100, 0.05, 3  # of a version that took over: beyond these it is taken back
JITTER = 0.2  # of the pause between two looks: many services must not ask the registry at the same moment

Change = Literal["switched", "unchanged", "refused", "away", "taken-back"]


class LoadError(RuntimeError):
    """The registry gave no bundle. The text is shown to callers of `/readyz`: no addresses, no credentials."""


class RegistryAway(LoadError):
    """The registry itself does not answer: what it said last still counts."""


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle and the name under which the registry holds it. `signed_by` is the fingerprint of the trusted key, None when no key
    is trusted and nothing was checked; `key` is what the source calls it."""

    bundle: Bundle
    name: str
    version: str
    alias: str
    signed_by: str | None = None
    key: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.name, self.version, self.bundle.digest


@dataclass(frozen=True)
class Source:
    """Where bundles come from. `current` names, cheaply, what is to be served now; `load` loads and verifies it; `keep` is told what is
    served, which `last` gives when nobody can say any more what is to be.

    All raise LoadError when nobody can say; `load` and `last` raise BundleError for what must not be served.
    """

    current: Callable[[], str]
    load: Callable[[], LoadedBundle]
    last: Callable[[], LoadedBundle | None] = lambda: None
    keep: Callable[[LoadedBundle], None] = lambda served: None

    @classmethod
    def fixed(cls, load: Callable[[], LoadedBundle]) -> "Source":
        """One bundle for good."""
        return cls(lambda: "fixed", load)


@dataclass(frozen=True)
class Outcome:
    """One look at the source: what came of it, and why."""

    change: Change
    reason: str = ""
    kind: str = ""  # of a refusal, from cxr.manifest.KINDS


@dataclass
class Probation:
    """The first answers of a version that took over from `old`, which the source called `old_key`."""

    new: LoadedBundle
    old: LoadedBundle
    old_key: str | None
    answered: int = 0
    failed: int = 0
    in_a_row: int = 0

    def count(self, failed: bool) -> None:
        self.answered += 1
        self.failed += failed
        self.in_a_row = self.in_a_row + 1 if failed else 0

    @property
    def is_failed(self) -> bool:
        return self.in_a_row >= FAILED_IN_A_ROW or self.failed > FAILED_SHARE * FIRST_ANSWERS


Accept = Callable[[LoadedBundle, LoadedBundle | None], None]
Tell = Callable[[Outcome], None]


class Readiness:
    """Follows the source on a thread of its own that never holds up the end of the process: a registry that does not answer must
    neither block `/livez` nor a shutdown.

    A new version is loaded beside the old one and must pass `accept(new, old)`. Then one assignment switches: requests that began with
    the old version end with it. What does not pass is tried again when the source names another version, after REFUSED_SECONDS, or with
    `look(again=True)`.

    The old version is kept for the new one's first answers, then its memory is given back. When too many of these fail it is served
    again, and the new one is not tried again before the source has named another version.
    """

    def __init__(self, source: Source, accept: Accept, retry_seconds: float, poll_seconds: float, tell: Tell) -> None:
        self._source, self._accept, self._tell = source, accept, tell
        self._retry_seconds, self._poll_seconds = retry_seconds, poll_seconds
        self._stopped = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._follow, name="bundle-loader", daemon=True)
        self._key: str | None = None
        self._refused: tuple[str | None, str, float] | None = None  # key, reason, when; never again: infinity
        self._deciding = threading.Lock()  # over what is served, its key and what was refused; never held for long
        self._probation: Probation | None = None
        self.loaded: LoadedBundle | None = None
        self.first_look = threading.Event()  # whatever came of it
        self.reason = "the bundle is still being loaded"
        self.ending = False

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

    def look(self, again: bool = False) -> Outcome:
        """Ask the source once and follow it. With `again`, a version that was refused is tried again."""
        with self._looking:
            try:
                outcome = self._look(again)
            except BundleError as error:
                outcome = Outcome("refused", str(error), error.kind)
            except MemoryError:
                outcome = Outcome("refused", "there is not the memory to load it beside what is served", "too-big")
            except LoadError as error:
                outcome = Outcome("away", str(error))
            except Exception as error:  # whatever a registry or a graph does, the process stays up and says so
                log.exception("bundle not served")
                outcome = Outcome("away", f"loading failed with {type(error).__name__}; the service's log has the details")
            if outcome.change in ("refused", "away"):
                self._note(outcome.reason)
        self._tell(outcome)
        return outcome

    def _follow(self) -> None:
        pause = self._retry_seconds
        while not self._stopped.is_set():
            self.look()
            self.first_look.set()
            pause = self._poll_seconds if self.loaded is not None else min(2 * pause, self._poll_seconds)
            self._stopped.wait(pause * random.uniform(1 - JITTER, 1 + JITTER))

    def _look(self, again: bool) -> Outcome:
        key = self._asked()
        with self._deciding:
            if self.loaded is not None and key == self._key:
                self._refused = None
                return Outcome("unchanged")
        if self.loaded is not None and self._refused is not None:
            refused, reason, when = self._refused
            if key == refused and when == math.inf and again:
                raise BundleError(reason, "failing")
            if key == refused and not again and time.monotonic() < when + REFUSED_SECONDS:
                return Outcome("unchanged", reason)
        try:
            new = self._load()
            switches = self.loaded is None or new.identity != self.loaded.identity
            if switches:
                self._accept(new, self.loaded)
                self._switch(new, key)
            else:
                self._key, self._refused = key, None
        except BundleError as error:
            self._refused = (key, str(error), time.monotonic())
            raise
        self._keep(new)
        return Outcome("switched" if switches else "unchanged")

    def _asked(self) -> str | None:
        """The source's key; None when it is away and there is nothing to lose by looking further."""
        try:
            return self._source.current()
        except RegistryAway:
            if self.loaded is not None:
                raise
            return None

    def _load(self) -> LoadedBundle:
        try:
            return self._source.load()
        except RegistryAway:
            last = None if self.loaded is not None else self._source.last()
            if last is None:
                raise
            log.warning("the registry does not answer: version %s was served last and is served again", last.version)
            return last

    def _keep(self, served: LoadedBundle) -> None:
        try:
            self._source.keep(served)
        except OSError as error:
            log.warning(
                "a start without the registry would not find what is served: it could not be noted (%s)", type(error).__name__
            )

    def _note(self, reason: str) -> None:
        serving = "nothing is served" if self.loaded is None else f"version {self.loaded.version} is still served"
        if reason != self.reason:  # said once, not at every look
            log.warning("bundle not served: %s; %s", reason, serving)
        self.reason = reason

    def _switch(self, new: LoadedBundle, key: str | None) -> None:
        with self._deciding:
            old = self.loaded
            self._probation = None if old is None else Probation(new, old, self._key)
            self.loaded, self._key, self._refused = new, key, None
        give_back()
        log.info("serving %s version %s (%s)", new.name, new.version, new.bundle.digest[:12])
        weakref.finalize(new.bundle, log.info, "version %s answered its last request", new.version).atexit = False

    def answered(self, loaded: LoadedBundle, failed: bool) -> None:
        """Told of every request that a version has answered or `failed` at, before the answer goes out; not of what a caller did wrong, nor
        of what failed beside the version, which say nothing about it."""
        if self._probation is None:
            return
        reason = ""
        with self._deciding:
            if self._probation is None or self._probation.new is not loaded:
                return
            self._probation.count(failed)
            if self._probation.is_failed:
                reason = self._take_back(self._probation)
            elif self._probation.answered < FIRST_ANSWERS:
                return
            old = self._probation.old
            self._probation = None
        give_back()
        if reason:
            self._keep(old)
            self._note(reason)
            self._tell(Outcome("taken-back", reason, "failing"))

    def _take_back(self, failed: Probation) -> str:
        reason = f"version {failed.new.version} failed at {failed.failed} of its first {failed.answered} requests"
        self._refused = (self._key, reason, math.inf)
        self.loaded, self._key = failed.old, failed.old_key
        return reason
