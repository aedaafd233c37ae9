"""The contract of executors on Ray: one of this machine, which ends with its runner. Workers are as in `executor_places`."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag

from services.executors import cluster
from services.executors.cluster import ClusterExecutor
from services.executors.executor import Executor
from tests.contracts.executor_places import Started
from tests.journeys.under_fire.ground import Ground

STAND_IN = ("python", "-m", "tests.journeys.under_fire.stand_in")
WORKER = cluster.WORKER


@dataclass
class Tasks:
    """Children of Ray tasks. The address is that of a cluster which runs, if any."""

    address: str | None = None
    name: str = "cluster"
    adopts: bool = False  # Ray ends the tasks of a runner that is gone

    def executor(self, ground: Ground, slots: int, stop: Flag) -> Executor:
        cluster.WORKER = STAND_IN
        return ClusterExecutor(slots, ground.home, self.address, stop)

    def workers(self, runner: int) -> list[Started]:
        """Those below the runner with this process id."""
        found = []
        for pid in below(runner):
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
                if STAND_IN[-1] in line:
                    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
                    own = dict(variable.split("=", 1) for variable in variables if variable)
                    found.append(Started(str(pid), ("python", *line[1:3]), own))
        return found

    def kill(self, worker: Started) -> None:
        os.kill(int(worker.name), 9)

    def tidy(self) -> None:
        cluster.WORKER = WORKER


def below(pid: int) -> list[int]:
    """The process's children, and theirs."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *below(int(child))]
    return found
