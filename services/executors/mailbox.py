"""Workers that are reached through a folder: the part that containers and a cluster share.

A kind of worker derives from `MailboxWorker`: it creates the mailbox, starts `python -m training.protocol.worker --mailbox FOLDER`
somewhere that sees the folder, calls `listen()`, and says by `_ended()` whether that process has ended. For one that runs already it
skips the start: `listen()` reads what was said so far, and `found` then tells what it has in hand.
"""

import logging
import shutil
import time
from abc import abstractmethod
from pathlib import Path
from threading import Event as Flag
from threading import Thread

from services.executors.crew import OVER, Hear, Worker
from services.executors.executor import Request
from training.protocol.job import Event, Job
from training.protocol.mailbox import POLL_SECONDS, Mailbox

ENDED_SECONDS = 1.0  # between two questions whether it has ended; they go over the network
BEAT_SECONDS = 5.0
log = logging.getLogger(__name__)


def mailbox_folder(home: Path, name: str) -> Path:
    return home / "mailboxes" / name


class MailboxWorker(Worker):
    """A worker behind a mailbox. Its end is "ended" with the code that `_ended` gives, after everything that it has said."""

    def __init__(self, request: Request, hear: Hear, folder: Path) -> None:
        super().__init__(request, hear)
        self.mailbox = Mailbox(folder)
        self._number = 0
        self._over, self._asked = Flag(), Flag()

    def listen(self) -> None:
        """Read what was said before, then listen in a thread."""
        served = 0
        for event in self.mailbox.hear():
            self._replay(event)
            served = event.get("served", served)
        waiting = self.mailbox.waiting(served)
        self._number = max(waiting, default=served)
        self.found |= {path.stem[7:]: self.found.get(path.stem[7:]) for path in waiting.values()}
        self.idle = self.spoke and not waiting
        Thread(target=self._listen, name=f"listens to {self.mailbox.folder.name}", daemon=True).start()

    def _replay(self, event: Event) -> None:
        self.spoke, unit = True, event.get("unit", "")
        if event["event"] == "claimed":
            self.found[unit] = event["fence"]
            self.found_trained.discard(unit)
        elif event["event"] == "trained":
            self.found_trained.add(unit)
        elif event["event"] in OVER:
            self.found.pop(unit, None)
            self.found_trained.discard(unit)

    def _listen(self) -> None:
        asked = beaten = float("-inf")
        code: int | None = None
        while code is None:
            now = time.monotonic()
            if now - beaten > BEAT_SECONDS:
                self.mailbox.beat()
                beaten = now
            if now - asked > (POLL_SECONDS if self._asked.is_set() else ENDED_SECONDS):
                code = self._ended()
                asked = time.monotonic()
            for event in self.mailbox.hear():
                if event["event"] != "idle" or event["served"] == self._number:
                    self._hear(self, event)
            time.sleep(0 if code is not None else POLL_SECONDS)
        self._over.set()
        self._hear(self, {"event": "ended", "code": code})

    def _deliver(self, job: Job) -> None:
        self._number += 1
        self.mailbox.post(self._number, job)

    def ask_to_stop(self) -> None:
        self._asked.set()
        self.mailbox.ask_to_stop()

    def wait(self, seconds: float) -> bool:
        return self._over.wait(seconds)

    def dismiss(self) -> None:
        """Also when it has not ended: a worker whose mailbox is gone can say nothing more."""
        shutil.rmtree(self.mailbox.folder, ignore_errors=True)

    @abstractmethod
    def _ended(self) -> int | None:
        """Its exit code as a shell counts it, or None while it runs, or while nobody can say."""
