"""A home with a real MLflow store and claims, and a client of it that fails when told."""

from pathlib import Path
from typing import Any

from training import runs
from training.protocol.claim import Claim, Committed
from training.protocol.claims import ClaimTable
from training.protocol.delivery import Delivery
from training.protocol.desk import WEIGHTS, Desk
from training.protocol.lease import Lease
from training.protocol.unit import Unit
from training.tracking import Tracking, default_uri


class Shaky:
    """A client whose calls of some names fail some times first. Everything else goes to the real one."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.failing: dict[str, list[Exception]] = {}
        self.after: dict[str, list[Exception]] = {}  # the call is done and its answer is lost
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self.failing.get(name):
                raise self.failing[name].pop(0)
            result = method(*args, **kwargs)
            if self.after.get(name):
                raise self.after[name].pop(0)
            return result

        return call


class Bench:
    """One home with a real MLflow store and claims; units of it are delivered by hand."""

    def __init__(self, home: Path) -> None:
        self.home, self.tracking = home, Tracking(default_uri(home), home)
        self.real = self.tracking.client
        self.shaky = Shaky(self.real)
        self.tracking.client = self.shaky  # type: ignore[assignment]
        self.claims = ClaimTable(self.tracking.claims_uri, 60)
        self.parent = self.tracking.parent_run(self.tracking.experiment("mdmt-delivery"), "group", "digest", {})
        self.said: list[dict[str, Any]] = []

    def claim(self, of: Unit) -> Claim:
        claim = self.claims.acquire(of.fingerprint, "test")
        assert isinstance(claim, Claim)
        return claim

    def desk(self, of: Unit, epochs: int = 2, outcome: bool = True) -> Desk:
        desk = Desk(self.home, of.fingerprint)
        desk.open()
        for epoch in range(1, epochs + 1):
            desk.spool(epoch, {"train_loss": 1 / epoch})
        if outcome and desk.outcome is None:
            draft = desk.draft()
            (draft / WEIGHTS).write_bytes(b"weights of " + of.fingerprint.encode())
            desk.seal(draft, {"test_prognosis_acc": 0.75}, {"mdmt.start": "scratch"})
        return desk

    def begin(self, of: Unit, desk: Desk, claim: Claim, budget: int = 3) -> Delivery:
        lease = Lease(self.claims, claim)
        lease.start()

        def say(event: str, **fields: Any) -> None:
            self.said.append({"event": event, **fields})

        return Delivery(of, desk, self.parent, self.tracking, self.claims, lease, say, budget)

    def deliver(self, of: Unit) -> None:
        delivery = self.begin(of, self.desk(of), self.claim(of))
        delivery.finish()
        delivery.wait()

    def runs(self, of: Unit) -> dict[str, str]:
        """Status by run."""
        found = self.real.search_runs(
            [e.experiment_id for e in self.real.search_experiments()], f"tags.`mdmt.fingerprint` = '{of.fingerprint}'"
        )
        return {run.info.run_id: run.info.status for run in found}

    def delivered(self, of: Unit, epochs: int = 2) -> str:
        """The one FINISHED run, checked."""
        (run_id,) = [run for run, status in self.runs(of).items() if status == "FINISHED"]
        run = self.real.get_run(run_id)
        assert runs.is_readable(self.real, run)
        assert run.data.metrics["test_prognosis_acc"] == 0.75
        history = self.real.get_metric_history(run_id, "train_loss")
        assert [(m.step, m.value) for m in history] == [(i, 1 / i) for i in range(1, epochs + 1)]
        answer = self.claims.acquire(of.fingerprint, "anybody")
        assert answer == Committed(run_id)
        return run_id
