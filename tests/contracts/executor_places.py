"""Where the contract of executors is tried: on processes of this machine and in containers of a real engine.

In both, workers are the real ones with a training that takes no torch (`under_fire/stand_in`). Containers get it in an image made
from the control plane's, and need no network: the store is an SQLite file in the state that they share.
"""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag

from docker.errors import DockerException

import docker
from services.executors.container import ContainerExecutor
from services.executors.container_settings import ContainerSettings
from services.executors.executor import Executor
from services.executors.process import ProcessExecutor
from tests.journeys.under_fire.ground import ROOT, Ground

STAND_IN = "import runpy, sys; sys.argv[1:3] = []; runpy.run_module('tests.journeys.under_fire.stand_in', run_name='__main__')"
IMAGE = "mdmt-contract"


@dataclass(frozen=True)
class Started:
    """A worker that runs, as whoever runs it knows it. `environment` holds at least what was asked for."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass
class Processes:
    """Worker processes of the process that runs the executor."""

    folder: Path
    name: str = "process"
    adopts: bool = False  # its workers end with it

    def executor(self, ground: Ground, slots: int, stop: Flag) -> Executor:
        command = self.folder / "worker"
        if not command.exists():
            command.write_text(f'#!/bin/sh\nexec "{os.environ.get("MDMT_PYTHON") or sys.executable}" -c "{STAND_IN}" "$@"\n')
            command.chmod(0o755)
        os.environ["MDMT_PYTHON"] = os.environ.get("MDMT_PYTHON") or sys.executable
        sys.executable = str(command)
        return ProcessExecutor(slots, stop)

    def workers(self, runner: int) -> list[Started]:
        """Those of the runner with this process id."""
        found = []
        for task in Path(f"/proc/{runner}/task").iterdir():
            for pid in (task / "children").read_text().split():
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
                if STAND_IN in line:
                    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
                    own = dict(variable.split("=", 1) for variable in variables if variable)
                    found.append(Started(pid, (str(self.folder / "worker"), *line[3:]), own))
        return found

    def kill(self, worker: Started) -> None:
        os.kill(int(worker.name), 9)

    def tidy(self) -> None:
        sys.executable = os.environ.pop("MDMT_PYTHON", sys.executable)


@dataclass
class Containers:
    """Worker containers of a stack of this test's own."""

    image: str
    name: str = "container"
    adopts: bool = True
    stack: str = field(default_factory=lambda: f"contract-{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.engine = docker.from_env()

    def settings(self, ground: Ground, **more: object) -> ContainerSettings:
        chosen = {
            "unit_image": self.image, "unit_network": "none", "state_volume": str(ground.home), "data_volume": str(ground.films),
            "data_root": ground.films, "unit_memory": "1g", "unit_shm": "64m", "unit_tmp": "64m", "unit_cpus": 1.0,
            "unit_user": f"{os.getuid()}:{os.getgid()}",
        }  # fmt: skip
        return ContainerSettings(**(chosen | more))

    def executor(self, ground: Ground, slots: int, stop: Flag) -> Executor:
        return ContainerExecutor(slots, ground.home, self.settings(ground), stop, self.stack)

    def containers(self) -> list[docker.models.containers.Container]:
        return self.engine.containers.list(all=True, filters={"label": f"mdmt.stack={self.stack}"}, ignore_removed=True)

    def workers(self, runner: int) -> list[Started]:
        found = []
        for container in self.containers():
            if container.status == "running":
                made = container.attrs["Config"]
                own = dict(variable.split("=", 1) for variable in made["Env"])
                found.append(Started(container.id, tuple(made["Cmd"]), own))
        return found

    def kill(self, worker: Started) -> None:
        self.engine.containers.get(worker.name).kill()

    def tidy(self) -> None:
        for container in self.containers():
            container.remove(force=True)
        self.engine.close()


def no_engine() -> str:
    """Why there is no container engine; empty when there is one."""
    try:
        client = docker.from_env()
        client.ping()
        client.close()
    except DockerException as error:
        return f"no container engine answers: {error}"
    return ""


@contextmanager
def contract_image(folder: Path) -> Iterator[str]:
    """The control plane's image with the stand-in for training; built in an empty folder, removed afterwards."""
    name = f"{IMAGE}-{uuid.uuid4().hex[:8]}"
    control = f"{name}-control"
    _docker("build", "-q", "-t", control, "--target", "control", "-f", str(ROOT / "Dockerfile.train"), str(ROOT))
    inside = folder / "tests/journeys/under_fire"
    inside.mkdir(parents=True)
    shutil.copy(ROOT / "tests/journeys/under_fire/stand_in.py", inside)
    (folder / "execution.py").write_text("from tests.journeys.under_fire.stand_in import train as train\n")
    lines = [
        f"FROM {control}",
        "USER root",
        "COPY tests /app/tests",
        "COPY execution.py /app/training/protocol/",
        "RUN chmod -R a+rX /app",
    ]
    (folder / "Dockerfile").write_text("\n".join([*lines, "USER 10001:10001", ""]))
    try:
        _docker("build", "-q", "-t", name, str(folder))
        yield name
    finally:
        _docker("rmi", "-f", name, control)


def _docker(*arguments: str) -> None:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
