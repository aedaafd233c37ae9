"""Units on worker processes of this machine, each warm for many units: the executor that needs nothing but a machine."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event as Flag
from threading import Thread

from services.executors import crew
from services.executors.crew import WORKER_ENVIRONMENT, Crew, Hear, Worker, account_of_units
from services.executors.devices import deal
from services.executors.ending import cause_of, end_softly, last_lines
from services.executors.executor import Request, StageFailed, Stopped
from training.protocol.job import Job
from training.protocol.schedule import Schedule

ROOT = Path(__file__).parents[2]
WORKER, STAGE = ("-m", "training.protocol.worker"), ("-m", "services.executors.stage")
LOOK_SECONDS = 0.1
# What runs here is this code, also in a folder that holds a `training` of somebody else's, which "-m" would take first.
THIS_CODE = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}


class ProcessExecutor:
    """`slots` processes; each imports torch once and trains many units."""

    def __init__(self, slots: int, stop: Flag | None = None, environment: Mapping[str, str] | None = None) -> None:
        """`environment` is added to that of this process, for workers and stages alike."""
        self._slots, self._stop, self._environment = slots, stop or Flag(), dict(environment or {})

    def plan(self, jobs: Sequence[Job]) -> tuple[Request, ...]:
        """A process per slot. Raises NoSuchDevice when units ask for more GPUs than this machine has."""
        dealt = deal(jobs, _gpus(), self._slots, "this machine")
        own = {**THIS_CODE, **WORKER_ENVIRONMENT, **self._environment, **account_of_units()}
        return tuple(
            Request(slot, (sys.executable, *WORKER), own | ({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}), gpus)
            for slot, gpus in enumerate(dealt)
        )

    def run(self, schedule: Schedule) -> None:
        """Work until nothing is left that can be done here or is being done elsewhere. Raises Stopped, WorkersFail."""
        Crew(self.plan(list(schedule.jobs.values())), ProcessWorker, self._stop).run(schedule)

    def stage(self, arguments: Sequence[str]) -> None:
        """Run an `mdmt` verb in a process of its own. Raises StageFailed, Stopped."""
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(
                [sys.executable, *STAGE, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | THIS_CODE | self._environment,
            )  # fmt: skip
            try:
                while process.poll() is None:
                    if self._stop.wait(LOOK_SECONDS):
                        raise Stopped(f"told to stop during {' '.join(arguments[:2])}")
            finally:
                end_softly(process, crew.STOP_SECONDS)
            if process.returncode:
                log.seek(0)
                raise StageFailed(f"`mdmt {' '.join(arguments)}` ended with code {process.returncode}:\n{last_lines(log.read())}")


class ProcessWorker(Worker):
    """One worker process and the thread that reads its events."""

    def __init__(self, request: Request, hear: Hear) -> None:
        super().__init__(request, hear)
        self._process = subprocess.Popen(
            request.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | request.environment
        )
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(json.JSONDecodeError):  # cut by a kill: the process is dead, and its end is what counts
                self._hear(self, json.loads(line))
        self._hear(self, {"event": "ended", "code": self._process.wait()})

    def _deliver(self, job: Job) -> None:
        # In a thread: a job is larger than a pipe, and a process that is frozen does not empty it.
        Thread(target=self._write, args=(job.model_dump_json() + "\n",), daemon=True).start()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the worker is gone: its "ended" event is on the way and says so
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _cause(self, code: int) -> tuple[str, str]:
        return cause_of(code if code >= 0 else 128 - code, "the worker process")

    def ask_to_stop(self) -> None:
        self._process.terminate()

    def wait(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def kill(self) -> None:
        self._process.kill()

    def dismiss(self) -> None:
        self._process.wait()


def _gpus() -> list[str]:
    """Names of this machine's GPUs, or of those that it may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
