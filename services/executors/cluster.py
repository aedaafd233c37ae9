"""Units on a Ray cluster, one task per slot: the same worker as on this machine, wherever Ray has the CPUs and GPUs for it.

Every node sees the state folder at the same place: jobs, events, films and checkpoints go through it, nothing through Ray. Retries
are the schedule's, so a task is tried once; when a node is lost its workers are started anew on another. Ray ends the tasks of a
runner that is gone.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event as Flag
from types import ModuleType
from typing import Any

from services.executors import crew
from services.executors.cluster_connection import connect, disconnect
from services.executors.cluster_nodes import ask_nodes, must_fit, resources, task_options
from services.executors.cluster_worker import ClusterWorker, cause_of_loss, start
from services.executors.crew import WORKER_ENVIRONMENT, Crew, account_of_units, handed_on, signing
from services.executors.executor import Request, StageFailed, Stopped
from services.executors.mailbox import mailbox_folder
from training.protocol.job import Job
from training.protocol.mailbox import Mailbox
from training.protocol.schedule import Schedule

WORKER = ("python", "-m", "training.protocol.worker")
LOOK_SECONDS = 0.2


class ClusterExecutor:
    """`slots` tasks on the cluster at `address`, or with None on a Ray of this machine, which is started when it is needed."""

    def __init__(
        self,
        slots: int,
        home: Path,
        address: str | None = None,
        stop: Flag | None = None,
        stack: str = "mdmt",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`home`: the state folder, at the same place on every node. `environment` is added to that of workers and stages."""
        self._slots, self._home, self._address = slots, home.resolve(), address
        self._stop, self._prefix = stop or Flag(), f"{stack}-ray-"
        self._environment = {**handed_on(), **(environment or {}), "MDMT_HOME": str(self._home)}

    def plan(self, jobs: Sequence[Job]) -> tuple[Request, ...]:
        """A task per slot, with its resources as options. Raises NoSuchDevice, WorkersFail when no node has them."""
        if not jobs:
            return ()
        wanted = resources(jobs)
        if self._address is None:
            wanted["num_cpus"] = 1  # this machine has as many slots as it was told to have, whatever a unit takes
        ray = connect(self._address, self._slots)
        must_fit(wanted, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        environment = {**WORKER_ENVIRONMENT, **self._environment, **account_of_units()}
        return tuple(Request(slot, WORKER, environment, (), wanted) for slot in range(min(self._slots, len(jobs))))

    def run(self, schedule: Schedule) -> None:
        """Work until nothing is left that can be done here or is being done elsewhere. Raises Stopped, NoSuchDevice, WorkersFail."""
        jobs = list(schedule.jobs.values())
        requests = self.plan(jobs)
        if not requests:
            return
        ray = connect(self._address, self._slots)
        if self._address is not None:
            ask_nodes(ray, self._home, jobs[0])
        left = sorted(mailbox_folder(self._home, "").glob(f"{self._prefix}*"))
        for folder in left:
            Mailbox(folder).ask_to_stop()
        Crew(requests, lambda request, hear: ClusterWorker(request, hear, ray, self._home, self._prefix), self._stop).run(
            schedule
        )
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)

    def stage(self, arguments: Sequence[str]) -> None:
        """Run an `mdmt` verb in a task. Raises StageFailed, Stopped, WorkersFail."""
        ray = connect(self._address, self._slots)
        environment = {**self._environment, **signing(arguments)}
        request = Request(0, ("python", "-m", "services.executors.stage", *arguments), environment, (), task_options(1, 0))
        task = start(ray, request, request.command[1:], self._home / "logs" / f"{self._prefix}stage-{arguments[0]}.log")
        verb = f"`mdmt {' '.join(arguments)}`"
        try:
            while not ray.wait([task], timeout=LOOK_SECONDS)[0]:
                if self._stop.is_set():
                    _cancel(ray, task)
                    raise Stopped(f"told to stop during {verb}")
            ended = ray.get(task)
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise StageFailed(f"{verb} on the cluster: {cause_of_loss(ray, error)[1]}") from error
        if ended.code:
            raise StageFailed(f"{verb} ended with code {ended.code}:\n{ended.said}")

    def close(self) -> None:
        """Leave the cluster; a Ray of this machine ends. The next call connects anew."""
        disconnect()


def _cancel(ray: ModuleType, task: Any) -> None:
    """SIGTERM to the child, and after some seconds no mercy."""
    ray.cancel(task)
    if not ray.wait([task], timeout=crew.STOP_SECONDS)[0]:
        ray.cancel(task, force=True)
