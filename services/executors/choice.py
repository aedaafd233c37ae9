"""The executor of an installation, by name."""

import os
from pathlib import Path
from threading import Event as Flag
from typing import Protocol

from services.executors.executor import Executor
from services.executors.process import ProcessExecutor


class Asked(Protocol):
    """What the services' settings say about it."""

    @property
    def executor(self) -> str: ...
    @property
    def slots(self) -> int: ...
    @property
    def home(self) -> Path: ...
    @property
    def stack(self) -> str: ...
    @property
    def tracking_uri(self) -> str | None: ...


def make_executor(asked: Asked, stop: Flag) -> Executor:
    """ "process", "container" (see `ContainerSettings`) or "cluster" (RAY_ADDRESS), with so many slots."""
    environment = {"MDMT_HOME": str(asked.home)} | ({"MLFLOW_TRACKING_URI": asked.tracking_uri} if asked.tracking_uri else {})
    match asked.executor:
        case "process":
            return ProcessExecutor(asked.slots, stop, environment)
        case "container":
            from services.executors.container import ContainerExecutor
            from services.executors.container_settings import ContainerSettings

            return ContainerExecutor(asked.slots, asked.home, ContainerSettings(), stop, asked.stack, environment)
        case "cluster":
            from services.executors.cluster import ClusterExecutor

            return ClusterExecutor(asked.slots, asked.home, os.environ.get("RAY_ADDRESS") or None, stop, asked.stack, environment)
        case other:
            raise ValueError(f"no executor {other!r}; allowed: process, container, cluster")
