"""A worker's mailbox: the folder through which it gets its jobs and says its events when no pipe reaches it.

    inbox/000001-<fingerprint>.json   a job; taken in order, gone once the worker has said that it is idle again
    outbox.jsonl                      its events, one line each; "idle" carries `served`, the number of the last job it took
    stop                              asks it to end, as SIGTERM does
    heartbeat                         touched by whoever listens; a worker that is idle and hears no beat for long ends by itself

Whoever comes later reads the outbox from its beginning and knows what the worker has. One process writes the outbox, one at a time
writes the rest; both sides see one file system.
"""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

from cxr import durable
from training.protocol.job import Event, Job

POLL_SECONDS = 0.1
ABANDONED_SECONDS = 600.0  # unless MDMT_ABANDONED_SECONDS says otherwise
FULL_DISK_SECONDS = 1.0
log = logging.getLogger(__name__)


class Mailbox:
    """The folder, for both sides. `name` is that of its worker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inbox = folder, folder / "inbox"
        self._stop, self._heartbeat, self._outbox = folder / "stop", folder / "heartbeat", folder / "outbox.jsonl"
        self._lock, self._at = Lock(), 0

    def create(self) -> None:
        self.inbox.mkdir(parents=True)
        self.beat()

    def post(self, number: int, job: Job) -> None:
        """Job `number`, counted from 1 without gaps."""
        durable.write(self.inbox / f"{number:06}-{job.unit.fingerprint}.json", job.model_dump_json().encode())

    def waiting(self, after: int = 0) -> dict[int, Path]:
        """Jobs numbered above `after`, by number in order."""
        named = {int(path.name[:6]): path for path in self.inbox.glob("*.json")}
        return {number: named[number] for number in sorted(named) if number > after}

    def say(self, event: str, **fields: object) -> None:
        """Append an event. The break comes first too: a line that a full disk has cut must not swallow this one."""
        line = f"\n{json.dumps({'event': event, **fields})}\n".encode()
        with self._lock:
            while not self._append(line):
                log.warning("no room for an event, trying again")
                time.sleep(FULL_DISK_SECONDS)

    def _append(self, line: bytes) -> bool:
        try:
            with self._outbox.open("ab", buffering=0) as file:
                return file.write(line) == len(line)
        except OSError as error:
            log.warning("%s", error)
            return False

    def hear(self) -> Iterator[Event]:
        """Events since the last call of this object; the first call gives all. A line that is not whole yet is left for the next."""
        with suppress(FileNotFoundError), self._outbox.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                with suppress(ValueError):  # cut by a full disk and said again
                    if isinstance(event := json.loads(line), dict):
                        yield event

    def ask_to_stop(self) -> None:
        with suppress(FileNotFoundError):
            self._stop.touch()

    def beat(self) -> None:
        with suppress(FileNotFoundError):
            self._heartbeat.touch()

    @property
    def last_beat(self) -> float:
        """When it was, by the clock of the file system: compare it with nothing but another beat."""
        try:
            return self._heartbeat.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def serve(self, do: Callable[[Job], None]) -> None:
        """The worker's side: do the jobs one after another, until nobody listens any more. Being asked to stop becomes SIGTERM."""
        Thread(target=self._watch, name="mailbox", daemon=True).start()
        patience = float(os.environ.get("MDMT_ABANDONED_SECONDS", ABANDONED_SECONDS))
        served, beat, heard = 0, self.last_beat, time.monotonic()
        self.say("idle", served=served)
        while time.monotonic() - heard < patience:
            if waiting := self.waiting(served):
                served, path = next(iter(waiting.items()))
                do(Job.model_validate_json(path.read_bytes()))
                self.say("idle", served=served)
                path.unlink(missing_ok=True)
                heard = time.monotonic()
            elif self.last_beat != beat:
                beat, heard = self.last_beat, time.monotonic()
            else:
                time.sleep(POLL_SECONDS)
        log.warning("nobody has listened for %g seconds, ending", patience)

    def _watch(self) -> None:
        while not self._stop.exists():
            time.sleep(2 * POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
