"""A worker behind a mailbox that only speaks: `python -m tests.services.executors.mailbox_script --mailbox FOLDER`.

It does what the fold of a unit says, after "claimed"; who comes again finds the unit quarantined, as claims would have it.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from training.protocol.job import Job
from training.protocol.mailbox import Mailbox

box = Mailbox(Path(sys.argv[2]))
told = working = False


def stop(*_: object) -> None:
    global told
    told = True
    if not working:
        sys.exit(0)


def do(job: Job) -> None:
    global working
    working = True
    speak(job)
    working = False


def speak(job: Job) -> None:
    unit, fold = job.unit.fingerprint, job.unit.fold
    marks = job.home / "marks"
    if (marks / unit).exists() and fold == "kill":
        box.say("failed", unit=unit, kind="quarantined", reason="spent", quarantined=True)
        return
    marks.mkdir(exist_ok=True)
    (marks / unit).touch()
    box.say("claimed", unit=unit, fence=7)
    if fold == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fold == "hang":
        time.sleep(100)
    for epoch in range(100 if fold == "endless" else 20 if fold == "long" else 2):
        box.say("epoch", unit=unit, epoch=epoch, figures={})
        time.sleep(0.1)
        if told:
            (marks / f"{unit}-given-back").write_text(json.dumps(epoch))
            sys.exit(0)
    box.say("trained", unit=unit)
    box.say("done", unit=unit, run=f"run of {fold}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    box.serve(do)
