"""A process that trains units one after another: `python -m training.protocol.worker [--mailbox FOLDER]`.

It reads one job per line on standard input and writes events as JSON lines on standard output (see `job.Event`); far from its runner
it does both through a folder (see `mailbox`). A job is data (a unit, where its films are, where to log), so any executor can start a
worker anywhere; imports are paid once for many units. Everything else that is printed goes to standard error. SIGTERM: the running
unit is given back after its batch, its last epoch is kept, exit 0.
"""

import argparse
import errno
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event as Flag
from typing import Any

from mlflow.exceptions import MlflowException

from training import runs
from training.memory import keep_freed_buffers, tells_of_no_memory
from training.parent import die_with_parent
from training.protocol.claim import Busy, Claim, ClaimLost, Committed, Quarantined
from training.protocol.claims import KINDS, ClaimTable
from training.protocol.claims_database import ClaimsUnavailable
from training.protocol.delivery import Delivery, end_quarantined, settle
from training.protocol.desk import WEIGHTS, Desk
from training.protocol.job import Job
from training.protocol.lease import Lease
from training.protocol.mailbox import Mailbox
from training.protocol.owner import is_gone, own_name
from training.protocol.pipes import Pipes
from training.tracking import Tracking, TrackingError

GIB = 1 << 30
REFUSALS, ASK_SECONDS = 3, 2.0  # of a parent's weights by a server that answers; pause before it is asked again
UNDELIVERED = 32  # finished units that may wait for a tracking server that is away, before no further one is begun


class Stopped(BaseException):
    """Asked to stop: not an error of the unit."""


class Worker:
    """What one process keeps between units: connections, and finished units on their way to MLflow."""

    def __init__(self, say: Any) -> None:
        self._say = say
        self.working = False
        self._stop = Flag()
        self._claims: dict[tuple[str, float], ClaimTable] = {}
        self._tracking: dict[str, Tracking] = {}
        self._deliveries: list[Delivery] = []

    def stop(self, *_: Any) -> None:
        """SIGTERM: at once when there is nothing to do, else at the next batch."""
        self._stop.set()
        if not self.working:
            raise Stopped

    def serve(self, job: Job) -> None:
        """`do`, with attention to being stopped just before and after."""
        self.working = True
        if not self._stop.is_set():
            self.do(job)
        self.working = False
        if self._stop.is_set():
            raise Stopped

    def do(self, job: Job) -> None:
        """One job, up to the point where nothing of it needs this process's main thread."""
        unit = job.unit.fingerprint
        self._make_room()
        try:
            if shutil.disk_usage(job.home).free < job.running.free_gib * GIB:
                raise OSError(errno.ENOSPC, "too little room to begin a unit")
            Desk(job.home, unit).open()
            claim = self._claim(job)
            if claim is not None:
                self._say("claimed", unit=unit, fence=claim.fence)
                self._work(job, claim)
        except Exception as error:
            if not _disk_is_full(error):
                raise
            self._say("disk-full", unit=unit, free_gib=shutil.disk_usage(job.home).free / GIB)

    def _work(self, job: Job, claim: Claim) -> None:
        """Train what is claimed, and leave the delivery to its thread."""
        unit, claims, desk = job.unit.fingerprint, self._table(job), Desk(job.home, job.unit.fingerprint)
        lease = Lease(claims, claim)
        lease.start()
        delivery = Delivery(
            job.unit, desk, job.parent_run, self._server(job), claims, lease, self._about(unit), job.running.attempts
        )
        try:
            if desk.outcome is None:
                self._train(job, desk, lease, delivery)
        except Stopped:
            delivery.give_back()
            claims.release(claim)
            raise
        except ClaimLost as lost:
            delivery.abandon()
            self._say("lost", unit=unit, reason=str(lost))
        except Exception as error:
            delivery.abandon()
            delivery.wait()  # its last step ends before the unit is anybody's again
            if _disk_is_full(error):
                with suppress(ClaimsUnavailable):  # when the database is on that disk: the next attempt finds the claim its own
                    claims.release(claim)
                raise
            self._failed(job, claim, error)
        else:
            self._say("trained", unit=unit)
            delivery.finish()
            self._deliveries.append(delivery)

    def _failed(self, job: Job, claim: Claim, error: Exception) -> None:
        """The unit failed, whatever the reason; the worker lives on for the next one."""
        traceback.print_exception(error)
        kind, reason = describe(error)
        try:
            self._table(job).fail(claim, kind, reason, job.running.attempts)
        except ClaimLost as lost:  # taken over, and its desk cleared while we were paused
            self._say("lost", unit=claim.unit, reason=str(lost))
        else:
            # Never "quarantined" from here: whoever takes the unit next finds that out and ends its run.
            self._say("failed", unit=claim.unit, kind=kind, reason=reason, quarantined=False)

    def finish(self) -> None:
        """Wait until everything is delivered."""
        for delivery in self._deliveries:
            delivery.wait()

    def _make_room(self) -> None:
        self._deliveries = [delivery for delivery in self._deliveries if delivery.busy]
        if len(self._deliveries) >= UNDELIVERED:
            self._deliveries[0].wait()

    def _claim(self, job: Job) -> Claim | None:
        """The claim on the unit, or None after saying why there is none."""
        try:
            return self._acquire(job)
        except TrackingError:
            waiting = "nobody: it is settled when the tracking server answers"
            self._say("busy", unit=job.unit.fingerprint, owner=waiting, seconds_left=0.0)
            return None

    def _acquire(self, job: Job) -> Claim | None:
        unit, claims = job.unit.fingerprint, self._table(job)
        while True:
            got = claims.acquire(unit, own_name())
            if isinstance(got, Claim):
                return got
            if isinstance(got, Committed):
                if settle(job.unit, got.run_id, claims, self._server(job)):
                    Desk(job.home, unit).clear()
                    self._say("done", unit=unit, run=got.run_id)
                    return None
            elif isinstance(got, Quarantined):
                end_quarantined(job.unit, got.reason, self._server(job))
                self._say("failed", unit=unit, kind="quarantined", reason=got.reason, quarantined=True)
                return None
            elif is_gone(got.owner) or got.owner == own_name():
                standing = claims.states([unit])[unit]
                if standing.owner == got.owner:
                    claims.release(Claim(unit, standing.fence, got.owner, None))
            else:
                assert isinstance(got, Busy)
                self._say("busy", unit=unit, owner=got.owner, seconds_left=got.seconds_left)
                return None

    def _train(self, job: Job, desk: Desk, lease: Lease, delivery: Delivery) -> None:
        from training.protocol.execution import train  # torch: only a process that trains pays for it

        unit = job.unit.fingerprint

        def progress(epoch: int, figures: dict[str, float]) -> None:
            desk.spool(epoch, figures)
            delivery.epoch_ended()
            self._say("epoch", unit=unit, epoch=epoch, figures=figures)

        def keep_going() -> None:
            lease.check()
            if not delivery.busy:
                raise ClaimLost(unit, lease.claim.fence, "its delivery has ended")
            if self._stop.is_set():
                raise Stopped

        def fetch(parent: str) -> Path:
            """A parent that is finished here and not delivered yet is on its desk; any other is in MLflow."""
            near = Desk(job.home, parent)
            copy = desk.folder / f"parent-{parent[:12]}.safetensors"
            try:
                os.link(near.folder / "outcome" / WEIGHTS, copy)
            except FileExistsError:
                pass
            except FileNotFoundError:
                folder = desk.folder / f"parent-{parent[:12]}"
                folder.mkdir(exist_ok=True)
                copy = self._download(job, parent, folder, keep_going)
            return copy

        train(
            job.unit, desk, job.stores, job.weights, fetch, progress, keep_going,
            pictures=job.running.pictures == "units", keep_weights=job.keep_weights,
        )  # fmt: skip

    def _download(self, job: Job, parent: str, folder: Path, keep_going: Callable[[], None]) -> Path:
        """The parent's weights from MLflow. A server that is away is waited for: that is no failure of the unit."""
        server, refusals = self._server(job), 0
        while True:
            try:
                run_id = job.parents.get(parent) or server.find(parent).info.run_id
                return server.download(run_id, WEIGHTS, folder)
            except (TrackingError, MlflowException) as error:
                try:
                    runs.is_there(server.client, job.parent_run)
                except Exception as away:
                    if not runs.is_passing(away):
                        raise
                    self._say("tracking-away", unit=job.unit.fingerprint, reason=str(away).splitlines()[0][:200])
                else:
                    refusals += 1
                    if refusals == REFUSALS:
                        raise error
            keep_going()
            time.sleep(ASK_SECONDS)

    def _table(self, job: Job) -> ClaimTable:
        key = (job.claims_uri, job.running.lease_seconds)
        if key not in self._claims:
            self._claims[key] = ClaimTable(*key)
        return self._claims[key]

    def _server(self, job: Job) -> Tracking:
        if job.tracking_uri not in self._tracking:
            self._tracking[job.tracking_uri] = Tracking(job.tracking_uri, job.home, ask=False)
        return self._tracking[job.tracking_uri]

    def _about(self, unit: str) -> Any:
        return lambda event, **fields: self._say(event, unit=unit, **fields)


def describe(error: BaseException) -> tuple[str, str]:
    """Kind and reason of a failure, as the claim table keeps them. An error that knows its own `kind` is believed."""
    text = f"{type(error).__name__}: {error}"
    if (own := getattr(error, "kind", None)) in KINDS:
        return own, text
    memory = isinstance(error, MemoryError) or tells_of_no_memory(text)
    return "out-of-memory" if memory else "exception", text


def _disk_is_full(error: BaseException | None) -> bool:
    """Also where a library wrapped it."""
    while error is not None:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error) or "disk is full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def main() -> None:
    """Serve standard input, or the mailbox given with --mailbox."""
    options = argparse.ArgumentParser(prog="python -m training.protocol.worker")
    options.add_argument("--mailbox", type=Path, help="folder of jobs and events, instead of standard input and output")
    folder = options.parse_args().mailbox
    die_with_parent()
    keep_freed_buffers()
    calls = Pipes() if folder is None else Mailbox(folder)
    worker = Worker(calls.say)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal reaches the runner too, and it knows how to stop a worker
    signal.signal(signal.SIGTERM, worker.stop)
    try:
        calls.serve(worker.serve)
        worker.finish()
    except Stopped:
        # All is given back and on disk; taking an interpreter apart takes seconds where others wait for the processor.
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
