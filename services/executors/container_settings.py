"""How unit containers are started, from `MDMT_…` environment variables; the launcher reads those of the unit too."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from cxr.environment import FromEnvironment


class ContainerSettings(FromEnvironment):
    """One field per setting, as `FromEnvironment` reads it."""

    unit_image: str = Field("mdmt-unit", min_length=1)
    """Image of workers and stages: a name, or an id `sha256:…`. It is resolved once per run."""

    unit_network: str = "mdmt_units"
    """Network of every container; the one with MLflow in it, and nothing else."""

    state_volume: str = "mdmt_state"
    """Volume (or folder of the host) that holds the state; it is mounted where this process has its state."""

    data_volume: str = "mdmt_data"
    """Volume (or folder of the host) that holds the data; mounted for reading at `data_root`."""

    data_root: Path = Path("/data")
    """Where this process has the data."""

    unit_memory: str = Field("4g", pattern=r"^[0-9]+[bkmg]?$")
    """Most memory of one container; there is no swap."""

    unit_shm: str = Field("1g", pattern=r"^[0-9]+[bkmg]?$")
    """Shared memory (/dev/shm) of one container; it counts as memory."""

    unit_tmp: str = Field("1g", pattern=r"^[0-9]+[kmg]?$")
    """Room in /tmp of one container; it counts as memory."""

    unit_cpus: float = Field(float(os.cpu_count() or 1), gt=0, le=1024)
    """Processors of one container."""

    unit_pids: int = Field(512, ge=16)
    """Most processes and threads of one container."""

    unit_user: str = Field("10001:10001", pattern=r"^[0-9]+:[0-9]+$")
    """User and group of every container, as numbers; owner of the state."""

    gpus: Annotated[tuple[str, ...], NoDecode] = ()
    """GPUs of the engine's machine: how many, or their names with commas between them; none when unset."""

    @field_validator("gpus", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(map(str, range(int(value)))) if value.strip().isdigit() else tuple(value.replace(" ", "").split(","))
        return value
