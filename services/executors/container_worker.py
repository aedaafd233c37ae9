"""A worker in a container, reached through its mailbox on the state volume."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from services.executors.container_engine import End, Engine
from services.executors.crew import Hear
from services.executors.ending import cause_of, last_lines
from services.executors.executor import Request, WorkersFail
from services.executors.mailbox import MailboxWorker, mailbox_folder

LOGS_KEPT = 200
KILLED_SECONDS = 5.0
log = logging.getLogger(__name__)


class ContainerWorker(MailboxWorker):
    """The container of one slot: a new one, or with `runs` one that was found and is taken on as it is."""

    def __init__(self, request: Request, hear: Hear, engine: Engine, home: Path, runs: bool = False) -> None:
        self.name = str(request.options["name"])
        super().__init__(request, hear, mailbox_folder(home, self.name))
        self._engine, self._home, self._end, self._said = engine, home, End(0, False), ""
        if not runs:
            super().dismiss()  # of the last one in this slot
            self.mailbox.create()
            engine.start(**asked(request))
        self.listen()

    def _ended(self) -> int | None:
        end = self._engine.end(self.name)
        if end is None:
            return None
        self._end = end
        self._said = kept_log(self._engine, self.name, self._home)
        if end.code:
            log.warning("container %s ended with code %d; it said last:\n%s", self.name, end.code, self._said)
        return end.code

    def _cause(self, code: int) -> tuple[str, str]:
        kind, reason = cause_of(code, f"container {self.name}", self._end.out_of_memory)
        if kind == "out-of-memory":
            reason += f" ({self.request.options['mem_limit']}, MDMT_UNIT_MEMORY)"
        return kind, f"{reason}: {self._said.splitlines()[-1][:200]}" if kind == "exception" else reason

    def kill(self) -> None:
        self._asked.set()
        with suppress(WorkersFail):  # an engine that is away: the worker was asked to stop, and the next run finds what is left
            self._engine.kill(self.name)

    def dismiss(self) -> None:
        """Container and mailbox are gone; its log is kept in the state folder."""
        if self._asked.is_set():
            self._over.wait(KILLED_SECONDS)
        with suppress(WorkersFail):
            self._engine.remove(self.name)
        super().dismiss()


def asked(request: Request) -> Mapping[str, Any]:
    """A request in the words of the SDK."""
    return {"command": list(request.command), "environment": dict(request.environment), **request.options}


def kept_log(engine: Engine, name: str, home: Path) -> str:
    """Keep what a container printed in <home>/logs, and return the end of it."""
    folder = home / "logs"
    path = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1000:03}.log"
    engine.save_log(name, path)
    for old in sorted(folder.glob("*.log"), key=lambda file: file.stat().st_mtime)[:-LOGS_KEPT]:
        old.unlink(missing_ok=True)
    return last_lines(path.read_text(errors="replace")) if path.is_file() else "its log is lost"
