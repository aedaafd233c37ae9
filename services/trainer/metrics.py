"""What is counted: units and protocols by state, and what units take."""

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector

from services.trainer.protocol import Protocol
from services.trainer.states import STANDINGS, STATES

SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 3600, 7200, 21600)


class Metrics:
    """One application's metrics, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.unit_seconds = Histogram(
            "mdmt_unit_seconds", "From a unit's claim to its FINISHED run", buckets=SECONDS, registry=self.registry
        )
        self._units = Gauge("mdmt_units", "Units of protocols that are not over, by state", ("state",), registry=self.registry)
        self._protocols = Gauge("mdmt_protocols", "Protocols by state", ("state",), registry=self.registry)
        self._ready = Gauge("mdmt_trainer_ready", "1 when MLflow answers and work can be done", registry=self.registry)

    def show(self, protocols: Iterable[Protocol], ready: bool) -> None:
        """Make the gauges tell how it is now."""
        members = list(protocols)
        states, units = Counter(protocol.state for protocol in members), Counter[str]()
        for protocol in members:
            if protocol.progress is not None and protocol.ended is None:
                units.update(protocol.progress.counts())
        for state in STATES:
            self._protocols.labels(state).set(states[state])
        for standing in STANDINGS:
            self._units.labels(standing).set(units[standing])
        self._ready.set(ready)
