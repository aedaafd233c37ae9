"""What the launcher allows, from `MDMT_…` environment variables. Those of the unit are the trainer's too: give both the same values."""

import os
from pathlib import Path
from typing import Annotated, Any

from docker.errors import DockerException
from docker.utils import parse_bytes
from pydantic import BeforeValidator, Field

from cxr.environment import FromEnvironment

GIB = 1 << 30


def _bytes(value: Any) -> int:
    try:
        return int(parse_bytes(value))
    except DockerException as error:
        raise ValueError(f"found {value!r}; allowed: a number of bytes, or one with k, m or g behind it, such as 4g") from error


Size = Annotated[int, BeforeValidator(_bytes), Field(ge=16 << 20)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")]


class Settings(FromEnvironment):
    """One field per setting, as `FromEnvironment` reads it."""

    stack: Name = "mdmt"
    """Name of this installation: label `mdmt.stack` of its containers, and how their names begin."""

    unit_image: str = Field("mdmt-unit", min_length=1)
    """Image of every container: a name, or an id `sha256:…`. It is resolved at each creation and passed on as id."""

    unit_network: Name = "mdmt_units"
    """Network of every container; it must be internal, that is without a way out."""

    state_volume: Name = "mdmt_state"
    """Named volume that may be mounted at /state."""

    data_volume: Name = "mdmt_data"
    """Named volume that may be mounted at /data, for reading."""

    unit_memory: Size = 4 * GIB
    """Most memory of one container in bytes (or 512m, 4g), and what it gets when none is asked for. There is no swap."""

    unit_shm: Size = GIB
    """Most shared memory (/dev/shm) of one container; it counts as memory."""

    unit_tmp: Size = GIB
    """Most room in /tmp of one container; it counts as memory."""

    unit_cpus: float = Field(float(os.cpu_count() or 1), gt=0, le=1024)
    """Most processors of one container."""

    unit_pids: int = Field(512, ge=16)
    """Most processes and threads of one container."""

    unit_gpus: int = Field(0, ge=0)
    """Most GPUs of one container; with 0 a request for one is refused."""

    unit_user: str = Field("10001:10001", pattern=r"^[1-9][0-9]*:[1-9][0-9]*$")
    """User and group of every container, as numbers; never root."""

    launcher_socket: Path = Path("/var/run/docker.sock")
    """The engine's socket."""

    launcher_containers: int = Field(64, ge=1)
    """Most containers of this installation, running or not."""
