"""`python -m tests.journeys.under_fire.runner FOLDER WORKERS [stand-in]`: what `mdmt run` does with jobs, without a recipe.

FOLDER holds jobs.json; every event is appended to its journal.jsonl, the last line says what became of the whole.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from mlflow.entities import Run

from services.executors.process import ProcessExecutor
from training.protocol.claims import ClaimTable
from training.protocol.desk import sweep
from training.protocol.job import Job
from training.protocol.schedule import Schedule
from training.protocol.unit import Unit
from training.tracking import Tracking


def schedule_of(jobs: Sequence[Job], finished: Mapping[str, Run], journal: TextIO) -> Schedule:
    """What of the jobs is not finished; every event becomes a line of the journal."""

    def listen(unit: Unit, event: dict[str, Any]) -> None:
        journal.write(json.dumps({"at": time.time(), "unit": unit.fingerprint} | event) + "\n")

    todo = [job for job in jobs if job.unit.fingerprint not in finished]
    claims = ClaimTable(jobs[0].claims_uri, jobs[0].running.lease_seconds)
    return Schedule(todo, {f: run.info.run_id for f, run in finished.items()}, claims, listen)


def main(folder: Path, workers: int, standing_in: bool) -> None:
    given = json.loads((folder / "jobs.json").read_text())
    jobs = [Job.model_validate(row) for row in given["jobs"]]
    tracking = Tracking(given["tracking_uri"], jobs[0].home, ask=False)
    finished = tracking.finished()
    sweep(jobs[0].home, finished)
    if standing_in:
        sys.executable = str(_worker_command(folder))
    with (folder / "journal.jsonl").open("a", buffering=1) as journal:
        schedule = schedule_of(jobs, finished, journal)
        if schedule.jobs:
            ProcessExecutor(workers).run(schedule)
        sweep(jobs[0].home, tracking.finished())
        journal.write(json.dumps({"event": "over", "failed": schedule.failed, "skipped": schedule.skipped, "unit": ""}) + "\n")


def _worker_command(folder: Path) -> Path:
    """An interpreter, as it were, that always runs the worker with the stand-in training."""
    command = folder / "worker"
    if not command.exists():
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.journeys.under_fire.stand_in\n')
        command.chmod(0o755)
    return command


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), "stand-in" in sys.argv[3:])
