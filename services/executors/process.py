"""Runs units in worker processes of this machine, one thread each, parents before children."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Queue
from threading import Thread

from training.protocol.job import Event, Job
from training.protocol.plan import Unit


class UnitsFailed(RuntimeError):
    """Some units failed; those that do not depend on them were finished and are kept."""

    def __init__(self, failed: dict[str, str], skipped: int) -> None:
        self.failed = failed
        lines = "\n  ".join(f"{title}: {reason}" for title, reason in failed.items())
        super().__init__(f"{len(failed)} unit(s) failed, {skipped} that start from them were not run:\n  {lines}")


class WorkerDied(RuntimeError):
    """A worker process ended by itself: killed, or out of memory. Finished units are kept."""

    def __init__(self, unit: str, code: int) -> None:
        super().__init__(f"a worker process ended with exit code {code} while running {unit}; run the recipe again to go on")


class ProcessExecutor:
    """`workers` processes; each imports torch once and runs many units. Threads are set explicitly: two pools that spin on two cores
    cost twenty times."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, jobs: Sequence[Job], on_event: Callable[[Unit, Event], None]) -> None:
        """Run all jobs. Parents that are not among `jobs` are taken to be finished. Raises UnitsFailed at the end."""
        waiting = {job.unit.fingerprint: job for job in jobs}
        units = {fingerprint: job.unit for fingerprint, job in waiting.items()}
        unfinished, failed = set(waiting), {}
        events: Queue[tuple[_Worker, Event]] = Queue()
        workers = [_Worker(events) for _ in range(min(self._workers, len(jobs)))]
        idle: list[_Worker] = []
        running: dict[_Worker, str] = {}
        try:
            while True:
                while idle and (ready := _next_ready(waiting, unfinished)):
                    worker = idle.pop()
                    running[worker] = ready
                    worker.send(waiting.pop(ready))
                if len(idle) == len(workers):
                    break  # nothing runs and nothing can start
                worker, event = events.get()
                if event["event"] == "ended":
                    raise WorkerDied(units[running[worker]].title if worker in running else "no unit yet", event["code"])
                if event["event"] != "ready":
                    on_event(units[event["unit"]], event)
                if event["event"] == "done":
                    unfinished.discard(event["unit"])
                if event["event"] == "failed":
                    failed[units[event["unit"]].title] = event["reason"]
                if event["event"] != "epoch":
                    running.pop(worker, None)
                    idle.append(worker)
        finally:
            for worker in workers:
                worker.stop()
        if failed:
            raise UnitsFailed(failed, len(waiting))


def _next_ready(waiting: dict[str, Job], unfinished: set[str]) -> str | None:
    """The largest unit all of whose parents are finished: long ones last would leave workers idle."""
    ready = [f for f, job in waiting.items() if not unfinished.intersection(job.unit.parents)]
    return max(ready, key=lambda f: len(waiting[f].unit.samples), default=None)


class _Worker:
    """One worker process and the thread that reads its events."""

    def __init__(self, events: "Queue[tuple[_Worker, Event]]") -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "training.protocol.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        Thread(target=self._read, args=(events,), daemon=True).start()

    def _read(self, events: "Queue[tuple[_Worker, Event]]") -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            events.put((self, json.loads(line)))
        events.put((self, {"event": "ended", "code": self._process.wait()}))

    def send(self, job: Job) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the worker is gone: its "ended" event is on the way and says so
            self._process.stdin.write(job.model_dump_json() + "\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """No job is cut: the worker is idle, or the run is being abandoned and nothing of it counts."""
        self._process.terminate()
        self._process.wait()
