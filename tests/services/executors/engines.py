"""Engines that are asked for containers and have none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.executors.container import ContainerExecutor
from services.executors.container_engine import End, Engine
from services.executors.container_settings import ContainerSettings

IDENTITY = "sha256:" + "0" * 64


class Images(Engine):
    """An engine that has every image and is asked for nothing else."""

    def image_id(self, name: str) -> str:
        return IDENTITY


class Stages(Images):
    """One that ends every stage well, at once."""

    def __init__(self, started: list[Mapping[str, Any]]) -> None:
        super().__init__()
        self.started = started

    def labelled(self, labels: Mapping[str, str]) -> dict[str, Any]:
        return {}

    def start(self, **asked: Any) -> None:
        self.started.append(asked)

    def end(self, name: str) -> End:
        return End(0, out_of_memory=False)

    def save_log(self, *_: object) -> None:
        pass

    remove = save_log


def staged(home: Path, *verbs: str) -> list[Mapping[str, Any]]:
    """What the engine is asked for by these stages."""
    executor = ContainerExecutor(1, home, ContainerSettings(), stack="test", engine=Stages(started := []))
    for verb in verbs:
        executor.stage([verb, "--recipe", "demo"])
    return started
