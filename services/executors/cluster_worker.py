"""A worker on a cluster: a Ray task above it, its mailbox in the state folder that all nodes share."""

import secrets
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from services.executors.cluster_connection import first_line
from services.executors.cluster_node import run_child
from services.executors.crew import Hear
from services.executors.ending import cause_of
from services.executors.executor import Request, WorkersFail
from services.executors.mailbox import MailboxWorker, mailbox_folder

KILLED_SECONDS = 1.0


class ClusterWorker(MailboxWorker):
    """The task of one slot. Where Ray has no room for it yet, it waits, and has not spoken."""

    def __init__(self, request: Request, hear: Hear, ray: ModuleType, home: Path, prefix: str) -> None:
        # A name for once: the task of a runner that was killed lives for some seconds more, and must not write to this mailbox.
        name = f"{prefix}{request.slot}-{secrets.token_hex(4)}"
        super().__init__(request, hear, mailbox_folder(home, name))
        self._ray, self._log = ray, home / "logs" / f"{name}.log"
        self._why: tuple[str, str] | None = None
        self.mailbox.create()
        arguments = (*request.command[1:], "--mailbox", str(self.mailbox.folder))
        self._task = start(ray, request, arguments, self._log)
        self.listen()

    def _ended(self) -> int | None:
        try:
            if not self._ray.wait([self._task], timeout=0)[0]:
                return None
            code: int = self._ray.get(self._task).code
        except (self._ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
            self._why = cause_of_loss(self._ray, error)
            return 1
        if code == 0:
            self._log.unlink(missing_ok=True)
        return code

    def _cause(self, code: int) -> tuple[str, str]:
        kind, reason = self._why or cause_of(code, "the worker process")
        return kind, f"{reason} ({self._log.name})"

    def ask_to_stop(self) -> None:
        """One that has not spoken has nothing to give back, and may be waiting for room."""
        super().ask_to_stop()
        if not self.spoke:
            self.kill()

    def kill(self) -> None:
        self._asked.set()
        with suppress(self._ray.exceptions.RayError, ConnectionError, RuntimeError):
            self._ray.cancel(self._task, force=True)

    def dismiss(self) -> None:
        self._over.wait(KILLED_SECONDS)
        super().dismiss()


def start(ray: ModuleType, request: Request, arguments: tuple[str, ...], log: Path) -> Any:
    """The task that runs Python with these arguments on some node. Raises WorkersFail when the cluster does not answer."""
    try:
        return ray.remote(run_child).options(**request.options).remote(arguments, dict(request.environment), log)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        raise WorkersFail(f"the Ray cluster does not take tasks any more: {first_line(error)}") from error


def cause_of_loss(ray: ModuleType, error: Exception) -> tuple[str, str]:
    """Kind (of `claims.KINDS`) and reason, where Ray has lost a task, or the task could not even start its child."""
    known = ray.exceptions
    match error:
        case known.OutOfMemoryError():
            return "out-of-memory", "Ray ended it because its node ran out of memory"
        case known.NodeDiedError() | known.LocalRayletDiedError():
            return "killed", "its node died"
        case known.WorkerCrashedError():
            return "killed", "the Ray task above it was killed"
        case known.TaskCancelledError():
            return "killed", "it was cancelled"
        case known.RayTaskError():
            return "exception", f"it could not be started: {first_line(error.cause)}"
    return "killed", f"the cluster does not know what became of it: {first_line(error)}"
