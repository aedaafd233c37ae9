"""All protocols of this installation: read from MLflow once, then kept; who submits, who cancels, and what comes next."""

from collections.abc import Callable
from pathlib import Path
from threading import Condition, Event, Lock

from services.trainer.away import in_a_line, is_away
from services.trainer.errors import Refused
from services.trainer.events import EventLog
from services.trainer.protocol import Protocol
from services.trainer.records import Order, Records, now
from services.trainer.settings import Settings
from services.trainer.states import OVER


class Ledger:
    """Safe between the routes' threads and the driver's. Before `load` everything is refused with "tracking-away"."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._records: Records | None = None
        self._protocols: dict[str, Protocol] = {}
        self._queue: list[Protocol] = []
        self._turn = Lock()  # of who changes something, MLflow asked meanwhile; readers do not wait for it
        self._changed = Condition()
        self.stopping = Event()

    def load(self, records: Records) -> None:
        """Take over what MLflow knows; those that are RUNNING are queued in the order of submission."""
        found = [Protocol.found(record, self._events(), self._log(record.id)) for record in records.all()]
        with self._changed:
            self._records = records
            self._protocols = {protocol.id: protocol for protocol in found}
            self._queue = [protocol for protocol in found if protocol.state not in OVER]

    def submit(self, order: Order, take_over: bool = False) -> tuple[Protocol, bool]:
        """The protocol of this order, and whether it is queued by this call. What runs or waits already is left alone, but for whether it
        promotes with `take_over`: the start of the service must not undo what somebody asked for."""
        records = self._loaded()
        with self._turn:
            if self.stopping.is_set():
                raise Refused("stopping", "The service is being stopped: submit again when it is back.", 10)
            protocol = self._protocols.get(order.id)
            if protocol is not None and protocol.state not in OVER:
                if protocol.cancelled:
                    raise Refused("still-stopping", "Its workers are giving their units back: submit again in some seconds.", 5)
                if take_over and protocol.order is not None and protocol.order.promote != order.promote:
                    self._take_over(protocol, order, records)
                return protocol, False
            if protocol is None or protocol.state != "finished":
                self._ask(lambda: records.open(order))
            if protocol is None:
                protocol = Protocol(order.id, order.recipe.name, order, now(), self._events(), self._log(order.id))
                protocol.move("queued")
                self._protocols[order.id] = protocol
            else:
                protocol.queue_again(order)
            with self._changed:
                self._queue.append(protocol)
                self._changed.notify_all()
            return protocol, True

    def cancel(self, id: str) -> Protocol:
        """Nothing happens to one that is over. MLflow is told at once where it answers, and by the driver when the work is put down."""
        protocol, records = self.get(id), self._loaded()
        with self._turn:
            if protocol.state in OVER:
                return protocol
            protocol.cancelled = True
            protocol.stop.set()
            try:
                self._ask(lambda: records.end(id, "KILLED", "cancelled: on request", protocol.summary()))
            except Refused:
                return protocol  # the driver comes to it, and tells MLflow when that is back
            with self._changed:
                waited = protocol in self._queue
                if waited:
                    self._queue.remove(protocol)
            if waited:
                protocol.move("cancelled", "on request")
            return protocol

    def get(self, id: str) -> Protocol:
        self._loaded()
        if id not in self._protocols:
            raise Refused("unknown-protocol", "No protocol has this id. GET /protocols lists them.")
        return self._protocols[id]

    def all(self) -> list[Protocol]:
        """In the order of submission."""
        self._loaded()
        return sorted(self._protocols.values(), key=lambda protocol: protocol.submitted)

    def loaded(self) -> list[Protocol]:
        """Those known so far, none before MLflow was read: for counting."""
        return list(self._protocols.values())

    def next(self) -> Protocol | None:
        """The one that waits longest, as soon as there is one; None when the service stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self.stopping.is_set())
            return None if self.stopping.is_set() else self._queue.pop(0)

    def stop(self) -> None:
        """The service stops: what works gives back, what waits stays RUNNING in MLflow and is found at the next start.

        Called from a signal handler: takes no lock.
        """
        self.stopping.set()
        for protocol in list(self._protocols.values()):
            protocol.stop.set()

    def wake(self) -> None:
        """After `stop`: whoever waits in `next` looks again."""
        with self._changed:
            self._changed.notify_all()

    def _take_over(self, protocol: Protocol, order: Order, records: Records) -> None:
        """MLflow first: what it was not told would be forgotten at the next start. Raises Refused when it is too late."""
        if protocol.state != "registering":
            self._ask(lambda: records.open(order))
            if protocol.take_over(order):
                return
        raise Refused(
            "registering",
            f"Its version is being registered, with promote={str(not order.promote).lower()} as asked for before. Wait until it is over: "
            "`mdmt promote` and `mdmt rollback` then move the alias.",
        )

    def _loaded(self) -> Records:
        if self._records is None:
            raise Refused(
                "tracking-away", "Protocols are not read from MLflow yet: /readyz says why.", self._settings.retry_seconds
            )
        return self._records

    def _ask(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            if not is_away(error):
                raise
            raise Refused("tracking-away", f"MLflow does not answer: {in_a_line(error)}", self._settings.retry_seconds) from error

    def _events(self) -> EventLog:
        return EventLog(self._settings.events_kept)

    def _log(self, id: str) -> Path:
        return self._settings.home / "protocols" / id / "log.txt"
