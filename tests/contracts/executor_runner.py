"""`python -m tests.contracts.executor_runner FOLDER SLOTS KIND [WHERE IMAGE]`: an executor over jobs, in a process that may be killed.

FOLDER holds jobs.json; every event is appended to its journal.jsonl, the last line says what became of the whole. SIGTERM stops it.
"""

import json
import signal
import sys
import time
from pathlib import Path
from threading import Event as Flag

from services.executors.executor import Stopped
from tests.contracts.places import place_of
from tests.journeys.under_fire.ground import Ground
from tests.journeys.under_fire.runner import schedule_of
from training.protocol.job import Job
from training.tracking import Tracking


def main(folder: Path, slots: int, kind: str, where: str = "", image: str = "") -> None:
    given = json.loads((folder / "jobs.json").read_text())
    jobs = [Job.model_validate(row) for row in given]
    tracking = Tracking(jobs[0].tracking_uri, jobs[0].home, ask=False)
    finished = tracking.finished()
    place = place_of(kind, folder, where, image)
    stop = Flag()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with (folder / "journal.jsonl").open("a", buffering=1) as journal:
        schedule = schedule_of(jobs, finished, journal)
        over = {"event": "over", "unit": "", "stopped": False}
        try:
            place.executor(Ground(jobs[0].home, tracking, jobs[0].stores["noise"]), slots, stop).run(schedule)
        except Stopped:
            over["stopped"] = True
        over |= {"at": time.time(), "failed": schedule.failed, "skipped": schedule.skipped, "done": sorted(schedule.done)}
        journal.write(json.dumps(over) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
