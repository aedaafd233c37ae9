"""The executor of an installation, by name. What a kind needs is imported when it is made: settings ask for the names alone."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from services.executors.executor import Executor


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


def make_executor(asked: Asked, stop: Flag) -> "Executor":
    """One of KINDS, with so many slots. ValueError for another."""
    environment = {"MDMT_HOME": str(asked.home)} | ({"MLFLOW_TRACKING_URI": asked.tracking_uri} if asked.tracking_uri else {})
    return _MAKERS[known(asked.executor)](asked, stop, environment)


def known(kind: str) -> str:
    """The kind as it was given. ValueError naming KINDS for another."""
    if kind not in KINDS:
        raise ValueError(f"no executor {kind!r}; allowed: {', '.join(KINDS)}")
    return kind


def _process(asked: Asked, stop: Flag, environment: Mapping[str, str]) -> "Executor":
    from services.executors.process import ProcessExecutor

    return ProcessExecutor(asked.slots, stop, environment)


def _container(asked: Asked, stop: Flag, environment: Mapping[str, str]) -> "Executor":
    """See `ContainerSettings`."""
    from services.executors.container import ContainerExecutor
    from services.executors.container_settings import ContainerSettings

    return ContainerExecutor(asked.slots, asked.home, ContainerSettings(), stop, asked.stack, environment)


def _cluster(asked: Asked, stop: Flag, environment: Mapping[str, str]) -> "Executor":
    """The cluster at RAY_ADDRESS."""
    from services.executors.cluster import ClusterExecutor

    return ClusterExecutor(asked.slots, asked.home, os.environ.get("RAY_ADDRESS") or None, stop, asked.stack, environment)


_MAKERS: Mapping[str, Callable[[Asked, Flag, Mapping[str, str]], "Executor"]] = {
    "process": _process,
    "container": _container,
    "cluster": _cluster,
}
KINDS = tuple(_MAKERS)  # what settings allow, and what `tests/contracts/test_every_executor.py` tries
