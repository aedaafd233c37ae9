"""Bringing one unit to MLflow, off the training path: a thread sends what lies on the unit's desk, and tries again until it is there.

The order makes "done" mean done: metrics → files, checked by size → figures → claim committed (fenced) → FINISHED. A run that is cut
anywhere before the commit is continued by the next attempt; between commit and FINISHED, `settle` ends it.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from mlflow.entities import Metric

from training import runs
from training.protocol.claim import ClaimLost
from training.protocol.claims import ClaimTable
from training.protocol.claims_database import ClaimsUnavailable
from training.protocol.desk import Desk
from training.protocol.lease import Lease
from training.protocol.unit import Unit
from training.tracking import PARENT, RECIPE, Tracking, TrackingError

LONGEST_PAUSE = 15.0  # seconds between attempts to reach a server that is away
SHORTEST_GAP = 0.5  # seconds between two sendings of epochs: short epochs go together
GIVE_BACK = 3.0  # seconds that a worker which is told to stop has for its run in MLflow; it has eight in all
MOST = 900  # metrics in one call; MLflow takes 1,000

Result = TypeVar("Result")
Say = Callable[..., None]


class Delivery:
    """Started with the training; `finish` when the outcome is sealed, `abandon` when the unit failed or the claim is lost."""

    def __init__(
        self, unit: Unit, desk: Desk, parent_run: str, tracking: Tracking, claims: ClaimTable, lease: Lease, say: Say, budget: int
    ) -> None:
        self._unit, self._desk, self._parent_run, self._tracking = unit, desk, parent_run, tracking
        self._claims, self._lease, self._say, self._budget = claims, lease, say, budget
        self._end: str | None = None  # "finish" or "abandon"
        self._news, self._abandoned = threading.Event(), threading.Event()
        self._tried = self._given_back = False
        self._thread = threading.Thread(target=self._deliver, name=f"delivery-{unit.fingerprint[:8]}", daemon=True)
        self._thread.start()

    def epoch_ended(self) -> None:
        self._news.set()

    def finish(self) -> None:
        self._stop("finish")

    def abandon(self) -> None:
        self._abandoned.set()
        self._stop("abandon")

    def give_back(self) -> None:
        """Abandon a unit that was stopped, its run KILLED until somebody goes on in it. Where MLflow does not answer in time it stays
        RUNNING: the claim must be given back."""
        self._given_back = True
        self.abandon()
        self._thread.join(GIVE_BACK)
        self._given_back = False

    def wait(self) -> None:
        self._thread.join()

    @property
    def busy(self) -> bool:
        return self._thread.is_alive()

    def _stop(self, end: str) -> None:
        self._end = end
        self._news.set()

    def _deliver(self) -> None:
        try:
            run_id = self._insist(self._open_run)
            self._send_epochs(run_id)
            if self._end == "finish":
                self._send_outcome(run_id)
        except _Abandoned:
            return  # whoever has the unit now goes on in the same run, or closes it
        except ClaimLost as lost:
            if self._end != "abandon":  # else the training has said what became of the unit
                self._say("lost", reason=str(lost))
        except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to: the runner is told
            self._give_up(f"not delivered to {self._tracking.uri}: {type(error).__name__}: {error}")
        finally:
            self._lease.stop()
            if self._given_back:
                self._end_run()

    def _end_run(self) -> None:
        with suppress(Exception):  # also when the claim was lost meanwhile, and the run is another's
            self._lease.check()
            if (run_id := self._desk.run_id) is not None:
                runs.close(self._tracking.client, run_id, "KILLED", "stopped; whoever runs the recipe again goes on in this run")

    def _give_up(self, reason: str) -> None:
        try:
            self._insist(lambda: self._claims.fail(self._lease.claim, "exception", reason, self._budget), ours=False)
        except _Abandoned:
            return
        except ClaimLost as lost:
            self._say("lost", reason=str(lost))
        else:
            self._say("failed", kind="exception", reason=reason, quarantined=False)

    def _insist(self, step: Callable[[], Result], ours: bool = True) -> Result:
        """Do it until it works: a server that is away costs nothing but time, a refusal for good is raised.

        `ours`: the step needs the claim; once the claim is given back there is nothing to lose.
        """
        pause, away = 0.5, False
        while True:
            if self._end == "abandon":
                raise _Abandoned
            if ours:
                self._lease.check()
            try:
                result = step()
            except Exception as error:
                if not (runs.is_passing(error) or isinstance(error, ClaimsUnavailable)):
                    raise
                if not away:
                    self._say("tracking-away", reason=str(error).splitlines()[0][:200])
                away = True
                self._abandoned.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if away:
                    self._say("tracking-back")
                return result

    def _open_run(self) -> str:
        """The run of an earlier attempt, open again, or a new one; any other that an attempt was cut off in is ended."""
        client, unit, claim = self._tracking.client, self._unit, self._lease.claim
        known = self._desk.run_id
        if known is not None and not runs.is_there(client, known):
            known = None
        if self._tried or claim.fence > 1:
            for run_id in set(runs.unended(client, unit.fingerprint)) - {known}:
                runs.close(client, run_id, "KILLED", "the unit was begun anew")
        self._tried = True
        if known is not None:
            client.update_run(known, status="RUNNING")
            self._claims.record_run(claim, known)
            return known
        parent = client.get_run(self._parent_run)
        tags = {**unit.tags, PARENT: self._parent_run, RECIPE: parent.data.tags[RECIPE]}
        run_id = runs.open_run(client, parent.info.experiment_id, unit.title, tags, unit.params)
        try:
            self._claims.record_run(claim, run_id)
        except ClaimLost:  # paused before the run was made, and woken up after another had taken over
            runs.close(client, run_id, "KILLED", "the unit was taken over")
            raise
        self._desk.remember_run(run_id)
        return run_id

    def _send_epochs(self, run_id: str) -> None:
        """Every finished epoch, until the training ends; those an earlier attempt has sent are equal and change nothing."""
        sent: set[int] = set()
        while True:
            last = self._end is not None
            self._news.clear()
            new = [epoch for epoch in self._desk.epochs() if epoch.epoch not in sent]
            metrics = [Metric(k, v, epoch.at, epoch.epoch) for epoch in new for k, v in epoch.figures.items()]
            for i in range(0, len(metrics), MOST):
                piece = metrics[i : i + MOST]
                self._insist(lambda piece=piece: self._tracking.client.log_batch(run_id, metrics=piece))
            sent |= {epoch.epoch for epoch in new}
            if last:
                return
            self._news.wait()
            if self._end is None:
                time.sleep(SHORTEST_GAP)

    def _send_outcome(self, run_id: str) -> None:
        outcome, epochs, client = self._desk.outcome, self._desk.epochs(), self._tracking.client
        assert outcome is not None
        figures = runs.metrics_of(outcome.figures, step=0, at=epochs[-1].at)
        tags = {runs.FILES: json.dumps(outcome.sizes)} | outcome.tags
        self._insist(lambda: runs.upload(client, run_id, outcome.folder, outcome.sizes))
        self._insist(lambda: runs.log(client, run_id, figures, tags))
        self._insist(lambda: self._claims.commit(self._lease.claim, run_id))
        self._lease.stop()
        self._insist(lambda: runs.close(client, run_id, "FINISHED"), ours=False)
        self._say("done", run=run_id)
        self._desk.clear()


class _Abandoned(Exception):
    """The unit is no longer ours to deliver."""


def settle(unit: Unit, run_id: str, claims: ClaimTable, tracking: Tracking) -> bool:
    """A committed unit's run: end it if it is open. False, and the unit free again, when its run or its files are gone.

    Raises TrackingError when MLflow does not answer.
    """
    client = tracking.client
    try:
        there = runs.is_there(client, run_id)
        run = client.get_run(run_id) if there else None
        if run is not None and runs.is_readable(client, run):
            if run.info.status != "FINISHED":
                runs.close(client, run_id, "FINISHED")
            return True
        if run is not None:
            runs.close(client, run_id, "FAILED", "its files are not in the artifact store any more")
    except Exception as error:  # whatever else it is, this run cannot be read
        if runs.is_passing(error):
            raise TrackingError(f"MLflow at {tracking.uri} does not answer: {error}") from error
    claims.reopen(unit.fingerprint, run_id)
    return False


def end_quarantined(unit: Unit, reason: str, tracking: Tracking) -> None:
    """Nobody will go on with the unit: its open runs have FAILED. Raises TrackingError when MLflow does not answer."""
    try:
        for run_id in runs.unended(tracking.client, unit.fingerprint):
            runs.close(tracking.client, run_id, "FAILED", reason)
    except Exception as error:
        if runs.is_passing(error):
            raise TrackingError(f"MLflow at {tracking.uri} does not answer: {error}") from error
        raise
