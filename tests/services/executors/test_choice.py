"""The executor of an installation, and the settings of containers."""

from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest

from cxr.environment import BadSetting
from services.executors.choice import KINDS, make_executor
from services.executors.container import ContainerExecutor
from services.executors.container_settings import ContainerSettings
from services.executors.process import ProcessExecutor
from services.trainer.settings import Settings
from tests.contracts.places import PLACES, place_of


@dataclass(frozen=True)
class Asked:
    executor: str
    slots: int = 2
    home: Path = Path("/state")
    stack: str = "mdmt"
    tracking_uri: str | None = None


def test_an_executor_is_made_by_its_name_and_asks_nobody_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert isinstance(make_executor(Asked("process"), Event()), ProcessExecutor)
    assert isinstance(make_executor(Asked("container"), Event()), ContainerExecutor)
    with pytest.raises(ValueError, match="no executor 'slurm'; allowed: process, container, cluster"):
        make_executor(Asked("slurm"), Event())


def test_the_service_may_be_told_every_kind_and_refuses_others_by_name() -> None:
    assert [Settings(executor=kind).executor for kind in KINDS] == list(KINDS)
    with pytest.raises(BadSetting, match="MDMT_EXECUTOR is 'slurm': no executor 'slurm'; allowed: process, container, cluster"):
        Settings(executor="slurm")


def test_the_contract_of_executors_has_a_place_for_every_kind_and_tries_none_in_place_of_another(tmp_path: Path) -> None:
    assert tuple(PLACES) == KINDS
    with pytest.raises(ValueError, match="nowhere to try executor 'slurm'; there is a place for process, container, cluster"):
        place_of("slurm", tmp_path)


def test_a_kind_that_is_added_here_is_allowed_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.executors.choice.KINDS", (*KINDS, "slurm"))
    assert Settings(executor="slurm").executor == "slurm"


def test_gpus_are_a_number_or_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ContainerSettings().gpus == ()
    for text, names in (("2", ("0", "1")), ("0", ()), ("1,3", ("1", "3")), ("GPU-4f, GPU-5a", ("GPU-4f", "GPU-5a")), ("", ())):
        monkeypatch.setenv("MDMT_GPUS", text)
        assert ContainerSettings().gpus == names


def test_a_setting_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDMT_UNIT_MEMORY", "lots")
    with pytest.raises(BadSetting, match=r"MDMT_UNIT_MEMORY is 'lots': string should match .*bkmg"):
        ContainerSettings()
