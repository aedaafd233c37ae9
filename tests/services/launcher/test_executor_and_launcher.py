"""The two sides of the launcher agree: what the container executor asks for is allowed, with the same settings on both sides."""

from pathlib import Path
from typing import Any

import pytest

from services.executors import container_engine
from services.executors.container import ContainerExecutor
from services.executors.container_settings import ContainerSettings
from services.executors.container_worker import asked
from services.launcher.settings import Settings
from tests.journeys.under_fire.ground import family
from tests.services.launcher.conftest import launcher
from tests.services.launcher.stand_in import IDENTITY, IMAGE, Engine
from training.protocol.job import Job
from training.protocol.unit import Unit

SHARED = {
    "MDMT_UNIT_IMAGE": IMAGE,
    "MDMT_UNIT_MEMORY": "2g",
    "MDMT_UNIT_CPUS": "1.5",
    "MDMT_STACK": "mdmt",
    "MDMT_UNIT_TMP": "256m",
}


def jobs(units: list[Unit]) -> list[Job]:
    nowhere = Path("/state")
    return [
        Job(unit=one, stores={}, tracking_uri="", claims_uri="", home=nowhere, weights=nowhere, parent_run="") for one in units
    ]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_container_that_the_executor_plans_is_created_as_planned(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    for name, value in {**SHARED, "MDMT_GPUS": "2", "MDMT_UNIT_GPUS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    units = [unit.model_copy(update={"device": device}) for unit in family(3)]
    with launcher(Settings(launcher_socket=engine.socket)) as address:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}")
        plan = ContainerExecutor(2, Path("/state"), ContainerSettings()).plan(jobs(units))
        starter = container_engine.Engine()
        for request in plan:
            options = dict(asked(request))
            starter.start(options.pop("name"), **options)
    assert len(plan) == len(engine.created) == 2
    for request, body in zip(plan, engine.created, strict=True):
        host: dict[str, Any] = body["HostConfig"]
        assert body["Image"] == IDENTITY and tuple(body["Cmd"]) == request.command
        assert set(body["Env"]) - {"NVIDIA_VISIBLE_DEVICES=void"} == {
            f"{name}={value}" for name, value in request.environment.items()
        }
        assert body["Labels"] == request.options["labels"] | {"mdmt.stack": "mdmt", "mdmt.role": "worker"}
        assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (2 << 30, 1_500_000_000, 512)
        assert [(one["Target"], one["ReadOnly"]) for one in host["Mounts"]] == [("/state", False), ("/data", True)]
        assert [one["DeviceIDs"] for one in host["DeviceRequests"]] == ([[str(request.slot)]] if device == "cuda" else [])


def test_settings_that_both_sides_read_have_the_same_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = Settings(), ContainerSettings()
    shared = Settings.model_fields.keys() & ContainerSettings.model_fields.keys()
    assert {"unit_image", "unit_network", "state_volume", "data_volume", "unit_memory", "unit_shm", "unit_tmp"} <= shared
    asked_for = {name: getattr(theirs, name) for name in shared}
    assert Settings(**asked_for) == ours
