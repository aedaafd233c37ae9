"""Units on worker processes of this machine, parents first, each process warm for many units."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from training.protocol.job import Event, Job
from training.protocol.schedule import Schedule

TICK_SECONDS = 0.5
STOP_SECONDS = 10.0
# A tracking server that does not answer is tried again by the delivery, which knows how; the client itself should give up soon.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


class WorkersFail(RuntimeError):
    """Worker processes cannot be started at all."""


class ProcessExecutor:
    """`workers` processes; each imports torch once and trains many units. Threads are set explicitly: two pools that spin on two cores
    cost twenty times. A process that dies, or says nothing for too long, is replaced, and its unit has failed once."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, schedule: Schedule) -> None:
        """Work until nothing is left that can be done here or is being done elsewhere."""
        events: Queue[tuple[_Worker, Event]] = Queue()
        devices = _devices(schedule)
        workers = [_Worker(events, devices, i) for i in range(min(self._workers, len(schedule.jobs)))]
        born_dead = 0
        try:
            while schedule.working:
                for worker in [worker for worker in workers if worker.idle]:
                    if job := schedule.take(worker.backbone):
                        worker.send(job)
                schedule.look_elsewhere()
                for worker in workers:
                    worker.kill_if_silent()
                try:
                    worker, event = events.get(timeout=TICK_SECONDS)
                except Empty:
                    continue
                if event["event"] != "ended":
                    has_it = event.get("unit") in worker.units
                    worker.heard(event)
                    if has_it:
                        schedule.hear(event)
                    continue
                born_dead = 0 if worker.spoke else born_dead + 1
                if born_dead == 3 * self._workers:
                    raise WorkersFail(
                        f"{born_dead} worker processes ended before they were ready, "
                        f"the last with code {event['code']}; what they said is above"
                    )
                schedule.died(list(worker.units), *worker.cause(event["code"]))
                workers[workers.index(worker)] = _Worker(events, devices, worker.number)
        finally:
            for worker in workers:
                worker.stop()


def _devices(schedule: Schedule) -> list[str]:
    """Names of the GPUs, when the units ask for any. Raises WorkersFail when there is none."""
    if not any(job.unit.device == "cuda" for job in schedule.jobs.values()):
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = named.split(",") if named else [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    if not found:
        raise WorkersFail(
            "the recipe asks for device 'cuda' and this machine has no NVIDIA GPU; set device to 'cpu' in the recipe"
        )
    return sorted(found)


class _Worker:
    """One worker process and the thread that reads its events."""

    def __init__(self, events: "Queue[tuple[_Worker, Event]]", devices: Sequence[str], number: int) -> None:
        self.idle, self.spoke, self.number = False, False, number
        self.backbone: str | None = None
        self.units: dict[str, Job] = {}  # what is lost with the process: being trained, or on its way to MLflow
        self._silence, self._last, self._hung = 0.0, time.monotonic(), False
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), **PATIENCE, **QUIET}
        if devices:
            own["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "training.protocol.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | own,
        )
        Thread(target=self._read, args=(events,), daemon=True).start()

    def _read(self, events: "Queue[tuple[_Worker, Event]]") -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(json.JSONDecodeError):  # cut by a kill: the process is dead, and its end is what counts
                events.put((self, json.loads(line)))
        events.put((self, {"event": "ended", "code": self._process.wait()}))

    def send(self, job: Job) -> None:
        self.units[job.unit.fingerprint] = job
        self.backbone = job.unit.backbone.name
        self.idle, self._last, self._silence = False, time.monotonic(), 60 * job.running.silence_minutes
        # In a thread: a job is larger than a pipe, and a process that is frozen does not empty it.
        Thread(target=self._write, args=(job.model_dump_json() + "\n",), daemon=True).start()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the worker is gone: its "ended" event is on the way and says so
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def heard(self, event: Event) -> None:
        self.spoke, self._last = True, time.monotonic()
        if event["event"] == "idle":
            self.idle = True
        if event["event"] in ("done", "failed", "busy", "lost", "disk-full"):
            self.units.pop(event["unit"], None)

    def kill_if_silent(self) -> None:
        if not self.idle and self.spoke and time.monotonic() - self._last > self._silence:
            self._hung = True
            self._process.kill()

    def cause(self, code: int) -> tuple[str, str]:
        """Kind and reason of the end of the process."""
        if self._hung:
            return "hang", f"said nothing for {self._silence:g} seconds"
        if -code in CRASHES:
            return "segfault", f"the worker process crashed with {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            return "killed", "the worker process was killed (SIGKILL): out of memory, or by hand"
        return "exception", f"the worker process ended with code {code}"

    def stop(self) -> None:
        """SIGTERM lets it give its unit back; a process that does not end is killed."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
