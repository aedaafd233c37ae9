"""The thread that works: one protocol after the other, each until it is over or the service stops."""

import logging
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import TypeVar

from mlflow import MlflowClient

from services.executors.executor import Executor, NoSuchDevice, Stopped, WorkersFail
from services.trainer.away import in_a_line, is_away
from services.trainer.ledger import Ledger
from services.trainer.metrics import Metrics
from services.trainer.progress import Progress
from services.trainer.protocol import Protocol
from services.trainer.records import Order, Records
from services.trainer.settings import Settings
from services.trainer.states import State
from services.trainer.work import Work
from training.tracking import Tracking, default_uri

MakeExecutor = Callable[[Settings, Event], Executor]
STATUS: dict[State, str] = {"finished": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
LONG_SECONDS = 600.0  # workers that worked for so long before they failed are no failed start
log = logging.getLogger(__name__)
T = TypeVar("T")


class Driver:
    """`trouble` says what keeps it from working: what is not there yet, in words; empty when nothing does."""

    def __init__(
        self, settings: Settings, ledger: Ledger, metrics: Metrics, make_executor: MakeExecutor, at_start: Order | None
    ) -> None:
        """`at_start` is submitted first, also when it is finished: what is missing of it is then done again."""
        self._settings, self._ledger, self._metrics, self._make_executor = settings, ledger, metrics, make_executor
        self._at_start = at_start
        self._tracking: Tracking | None = None
        self._records: Records | None = None
        self.trouble = "MLflow has not answered yet"
        self._thread = Thread(target=self._run, name="driver", daemon=True)

    @property
    def client(self) -> MlflowClient | None:
        """MLflow's, once it has answered."""
        return self._tracking.client if self._tracking else None

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Whether the work has been put down within this time."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._patiently(self._connect, self._ledger.stopping)
            self._patiently(self._submit, self._ledger.stopping)
            self.trouble = ""
            while (protocol := self._ledger.next()) is not None:
                self._drive(protocol)
        except Stopped:
            log.info("stopped")
        except Exception as error:
            log.exception("the driver ended")
            self.trouble = f"the driver has ended: {in_a_line(error)}; restart the service"

    def _connect(self) -> None:
        """Read what is known. MLflow away is waited for."""
        home = self._settings.home
        self._tracking = Tracking(self._settings.tracking_uri or default_uri(home), home)
        self._records = Records(self._tracking, self._settings.stack)
        self._ledger.load(self._records)

    def _submit(self) -> None:
        """One that cannot be submitted, for whatever reason but MLflow being away, is no reason not to work on the others."""
        if self._at_start is None:
            return
        try:
            self._ledger.submit(self._at_start)
        except Exception as error:
            if is_away(error) or self._ledger.stopping.is_set():
                raise
            log.exception("the recipe of this service's start was not submitted, as protocol %s", self._at_start.id)

    def _drive(self, protocol: Protocol) -> None:
        assert self._tracking is not None
        protocol.begin(
            Progress(protocol.events, self._settings.slots, self._tracking.finished, self._metrics.unit_seconds.observe)
        )
        try:
            if protocol.order is None:
                raise FileNotFoundError("its recipe can be read neither in the state folder nor in MLflow: submit it again")
            note = self._patiently(lambda: self._attempt(protocol), protocol.stop, protocol)
            self._end(protocol, "finished", note)
        except Stopped:
            self._put_down(protocol)
        except Exception as error:
            log.exception("protocol %s failed", protocol.id)
            if protocol.stop.is_set():  # what breaks while everything is being stopped may break for that reason
                self._put_down(protocol)
            else:
                self._end(protocol, "failed", str(error) or type(error).__name__)

    def _put_down(self, protocol: Protocol) -> None:
        """It was told to stop, and has."""
        if protocol.cancelled:
            self._end(protocol, "cancelled", "on request")
        else:
            protocol.move("stopped", "the service is being stopped; it goes on when it is started again")

    def _attempt(self, protocol: Protocol) -> str:
        """From the start, which costs little: everything finds what is done."""
        assert self._tracking is not None and self._records is not None and protocol.order is not None
        executor = self._make_executor(self._settings, protocol.stop)
        return Work(protocol, protocol.order, self._settings, self._tracking, self._records, executor).carry_out()

    def _end(self, protocol: Protocol, state: State, note: str) -> None:
        """Told to MLflow first: a protocol that seems over must not begin again. Away, and the service stops: it stays RUNNING."""
        records = self._records
        assert records is not None
        try:
            self._patiently(
                lambda: records.end(protocol.id, STATUS[state], f"{state}: {note}", protocol.summary()),
                self._ledger.stopping,
                protocol,
            )
        except Stopped:
            protocol.move("stopped", "MLflow could not be told of its end; that is done when the service is started again")
        except Exception as error:  # whatever MLflow has against it, the next protocol begins
            log.exception("MLflow was not told of the end of protocol %s", protocol.id)
            protocol.move(state, f"{note}; MLflow was not told: {in_a_line(error)}")
        else:
            protocol.move(state, note)

    def _patiently(self, call: Callable[[], T], stop: Event, protocol: Protocol | None = None) -> T:
        """Until it works: what is away (MLflow, a database, what starts workers) is waited for. Raises Stopped, and all other errors."""
        starts = 0
        while True:
            begun = time.monotonic()
            try:
                return call()
            except Exception as error:
                if not is_away(error):
                    starts = 1 if time.monotonic() - begun > LONG_SECONDS else starts + 1
                    once_more = isinstance(error, WorkersFail) and not isinstance(error, NoSuchDevice)
                    if not once_more or starts >= self._settings.stage_attempts:
                        raise
                self._wait(error, stop, protocol)

    def _wait(self, error: Exception, stop: Event, protocol: Protocol | None) -> None:
        reason = in_a_line(error)
        log.warning("waiting: %s", reason)
        if protocol is None:
            self.trouble = reason
        else:
            protocol.waits(reason)
        if stop.wait(self._settings.retry_seconds):
            raise Stopped("told to stop while it waited")
