"""Workers, one per slot, and the loop that gives them units: the part that all executors share.

To add a kind of worker, derive from `Worker` (from `mailbox.MailboxWorker` when it runs on another machine or in a container): start
it in the constructor, say how a job reaches it (`_deliver`), how it is told to stop (`ask_to_stop`), killed (`kill`) and waited for
(`wait`), and what its end means (`cause`). Whatever it says goes to `hear(worker, event)`, from any thread; the last thing heard of it
is {"event": "ended", "code": …}, once. `Crew(requests, kind, stop).run(schedule)` does the rest.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Queue
from threading import Event as Flag

from cxr.signature import signing_key
from services.executors.executor import Request, Stopped, WorkersFail
from training.protocol.job import Event, Job
from training.protocol.schedule import Schedule

TICK_SECONDS = 0.5
STOP_SECONDS = 8.0  # what a worker has to give its unit back; whoever stops the runner allows ten
DISMISSALS = 16  # at once
BIRTHS = 3  # workers per slot that may end in a row before any has begun a unit
# A tracking server that does not answer is tried again by the delivery, which knows how; the client itself should give up soon.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
# `deterministic: true` needs it on a GPU (torch raises in the first product without), and only before CUDA starts. For all units alike:
# a unit may not give other bits because somebody else started its worker.
WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
# Threads are set explicitly: two pools that spin on two cores cost twenty times.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", **WORKSPACE, **PATIENCE, **QUIET}
# What workers and stages elsewhere get of this process's environment; the rest is that of their image or node.
HANDED_ON = (
    "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MDMT_CLAIMS_URI", "MDMT_ABANDONED_SECONDS",
)  # fmt: skip
# In place of this process's own account, where units have one that cannot change the registry.
OF_UNITS = {"MLFLOW_TRACKING_USERNAME": "MDMT_UNITS_USERNAME", "MLFLOW_TRACKING_PASSWORD": "MDMT_UNITS_PASSWORD"}
OVER = ("done", "failed", "busy", "lost", "disk-full")  # after these the worker no longer has the unit

Hear = Callable[["Worker", Event], None]


def handed_on() -> dict[str, str]:
    """What is set here of `HANDED_ON`."""
    return {name: os.environ[name] for name in HANDED_ON if name in os.environ}


def account_of_units() -> dict[str, str]:
    """What workers log in to MLflow with, where that is not what this process and its stages do; else nothing."""
    return {name: os.environ[given] for name, given in OF_UNITS.items() if given in os.environ}


def signing(arguments: Sequence[str]) -> dict[str, str]:
    """What signs bundles, for the one stage that makes them: units and other stages never see it. Raises BadKey."""
    key = signing_key() if arguments[0] == "register" else None
    return {} if key is None else {"MDMT_SIGNING_KEY": key}


class Worker(ABC):
    """A process somewhere that trains units one after another, as its crew sees it.

    `units`: what is lost with it, being trained or on its way to MLflow. `found`: fence by unit that it had when it was found running
    (None: it has not claimed it yet), `found_trained` those of them that only wait for their delivery; empty for a new one.
    """

    def __init__(self, request: Request, hear: Hear) -> None:
        self.request, self._hear = request, hear
        self.idle = self.spoke = self.began = False
        self.backbone: str | None = None
        self.units: set[str] = set()
        self.found: dict[str, int | None] = {}
        self.found_trained: set[str] = set()
        self._silence, self._last, self._hung = float("inf"), time.monotonic(), False

    def send(self, job: Job) -> None:
        self.has(job)
        self.idle = False
        self._deliver(job)

    def has(self, job: Job) -> None:
        """Note that it works on this, from now on."""
        self.units.add(job.unit.fingerprint)
        self.backbone = job.unit.backbone.name
        self._last, self._silence = time.monotonic(), 60 * job.running.silence_minutes

    def heard(self, event: Event) -> None:
        self.spoke, self._last = True, time.monotonic()
        self.began = self.began or "unit" in event
        if event["event"] == "idle":
            self.idle = True
        if event["event"] in OVER:
            self.units.discard(event["unit"])

    def kill_if_silent(self) -> None:
        if not self.idle and self.spoke and not self._hung and time.monotonic() - self._last > self._silence:
            self._hung = True
            self.kill()

    def cause(self, code: int) -> tuple[str, str]:
        """Kind (of `claims.KINDS`) and reason of its end."""
        if self._hung:
            return "hang", f"said nothing for {self._silence:g} seconds"
        return self._cause(code)

    @abstractmethod
    def _deliver(self, job: Job) -> None:
        """Bring it the job. Must not wait for it."""

    @abstractmethod
    def _cause(self, code: int) -> tuple[str, str]: ...

    @abstractmethod
    def ask_to_stop(self) -> None:
        """It gives its unit back after the running batch, and ends. Does not wait; no error when it has ended."""

    @abstractmethod
    def wait(self, seconds: float) -> bool:
        """Whether it has ended within this time."""

    @abstractmethod
    def kill(self) -> None:
        """At once; no error when it has ended."""

    def dismiss(self) -> None:  # noqa: B027 - many leave nothing behind
        """Its end has been heard, or nobody listens any more: drop what it leaves behind."""


class Crew:
    """One worker per request. One that dies, or says nothing for too long, is replaced, and its unit has failed once."""

    def __init__(self, requests: Sequence[Request], hire: Callable[[Request, Hear], Worker], stop: Flag) -> None:
        """`hire` starts a worker, or takes on one that runs already for that slot."""
        self._requests, self._kind, self._stop = requests, hire, stop
        self._events: Queue[tuple[Worker, Event]] = Queue()
        self._workers: list[Worker] = []
        self._born_dead = 0

    def run(self, schedule: Schedule) -> None:
        """Until nothing is left that can be done here or is being done elsewhere. Raises Stopped, WorkersFail."""
        try:
            for request in self._requests if schedule.working else ():
                self._go_on()
                self._workers.append(self._hire(request, schedule))
            while schedule.working:
                self._go_on()
                for worker in [worker for worker in self._workers if worker.idle]:
                    if job := schedule.take(worker.backbone):
                        worker.send(job)
                schedule.look_elsewhere()
                for worker in self._workers:
                    worker.kill_if_silent()
                self._listen(schedule)
        finally:
            self._dismiss_all()

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Stopped("told to stop: running units were given back, the same command goes on with them")

    def _hire(self, request: Request, schedule: Schedule) -> Worker:
        worker = self._kind(request, lambda who, event: self._events.put((who, event)))
        for unit, fence in worker.found.items():
            if schedule.adopt(unit, fence):
                worker.has(schedule.jobs[unit])
                if unit in worker.found_trained:
                    schedule.hear({"event": "trained", "unit": unit})
            elif unit not in worker.found_trained:
                worker.ask_to_stop()  # at work on something that nobody here asked for: it is given back, its epochs are kept
        return worker

    def _listen(self, schedule: Schedule) -> None:
        try:
            worker, event = self._events.get(timeout=TICK_SECONDS)
        except Empty:
            return
        if event["event"] != "ended":
            has_it = event.get("unit") in worker.units
            worker.heard(event)
            if has_it:
                schedule.hear(event)
            return
        kind, reason = worker.cause(event["code"])
        self._born_dead = 0 if worker.began else self._born_dead + 1
        if self._born_dead == BIRTHS * len(self._requests):
            raise WorkersFail(
                f"{self._born_dead} workers ended before they had begun a unit, the last with code {event['code']}: {reason}; "
                "what they said is above, or in the logs of the state folder"
            )
        schedule.died(sorted(worker.units), kind, reason)
        place = self._workers.index(worker)
        worker.dismiss()
        self._workers[place] = self._hire(worker.request, schedule)

    def _dismiss_all(self) -> None:
        """All together: SIGTERM lets each give its unit back; who has not ended in time is killed."""
        for worker in self._workers:
            worker.ask_to_stop()
        give_up = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            if not worker.wait(max(0.0, give_up - time.monotonic())):
                worker.kill()
        with ThreadPoolExecutor(DISMISSALS) as pool:  # each asks its engine, or waits
            list(pool.map(lambda worker: worker.dismiss(), self._workers))
