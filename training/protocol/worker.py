"""A process that runs units one after another: `python -m training.protocol.worker`.

It reads one job per line on standard input and writes events as JSON lines on standard output: {"event": "ready"}, then per job
"epoch" …, and "done" with the run's id or "failed" with the reason. A job is data (a unit, where its films are, where to log), so any
executor can start a worker anywhere; imports are paid once for many units. Everything else that is printed goes to standard error.
"""

import json
import os
import sys
import traceback
from typing import Any, TextIO

from training.protocol.job import Job


def main() -> None:
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not break the protocol
    from training.protocol.unit import run_unit  # after the descriptors are in place: this imports torch

    _say(events, "ready")
    for line in sys.stdin:
        job = Job.model_validate_json(line)
        fingerprint = job.unit.fingerprint
        try:
            run_id = run_job(job, run_unit, events)
        except Exception as error:  # noqa: BLE001 - the unit failed, whatever the reason; the worker lives on for the next one
            traceback.print_exc()
            _say(events, "failed", unit=fingerprint, reason=f"{type(error).__name__}: {error}")
        else:
            _say(events, "done", unit=fingerprint, run=run_id)


def run_job(job: Job, run_unit: Any, events: TextIO) -> str:
    import torch

    from training.tracking import Tracking

    torch.set_num_threads(job.threads)

    def progress(epoch: int, figures: dict[str, float]) -> None:
        _say(events, "epoch", unit=job.unit.fingerprint, epoch=epoch, figures=figures)

    tracking = Tracking(job.tracking_uri, job.home)
    run_id: str = run_unit(job.unit, job.stores, tracking, job.parent_run, progress)
    return run_id


def _say(events: TextIO, event: str, **fields: Any) -> None:
    events.write(json.dumps({"event": event, **fields}) + "\n")
    events.flush()


if __name__ == "__main__":
    main()
