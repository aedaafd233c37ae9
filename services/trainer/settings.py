"""Everything that can be set about the training service, from `MDMT_…` environment variables."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field, field_validator

from cxr.environment import FromEnvironment
from services.executors import choice


class Settings(FromEnvironment):
    """One field per setting, as `FromEnvironment` reads it."""

    home: Path = Path("state")
    """State of this installation, shared with its workers: films, checkpoints, recipes of protocols, their logs."""

    tracking_uri: str | None = Field(
        None, validation_alias=AliasChoices("tracking_uri", "MDMT_TRACKING_URI", "MLFLOW_TRACKING_URI")
    )
    """MLflow's server or database; default: an SQLite file in `home`."""

    stack: str = Field("mdmt", pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    """Name of this installation: it goes on with its own protocols only, and touches its own containers only."""

    executor: Annotated[str, AfterValidator(choice.known)] = "process"
    """Where units are trained: process, container or cluster."""

    slots: int = Field(os.cpu_count() or 1, ge=1, le=4096)
    """Units that may run at the same time; also processes that prepare films."""

    recipe: str | None = None
    """Recipe that is submitted when the service starts: a shipped name, or the path of a .json file."""

    data: Path | None = None
    """Data folder of submissions that name none; default: the recipe's own."""

    data_root: Path | None = None
    """Folder that the data of every submission must be in; default: the one that `data` is in, anywhere when neither is set."""

    alias: str = Field("champion", min_length=1)
    """What the gate moves, and serving follows."""

    trainer_hosts: str = ""
    """Names that the service is asked under besides loopback's, without ports and with commas between, such as `mdmt.example.org`; any
    other is refused (421)."""

    max_body_bytes: int = Field(1_000_000, ge=1000)
    """Largest submission in bytes, then 413."""

    events_kept: int = Field(2000, ge=10)
    """Latest events of a protocol, from which a reader that was cut off can go on."""

    heartbeat_seconds: float = Field(15.0, gt=0)
    """Longest silence of a stream of events: a comment is sent then, so that proxies do not cut it."""

    retry_seconds: float = Field(5.0, gt=0)
    """Pause before MLflow is asked again while it is away; also what refused callers are told to wait."""

    stage_attempts: int = Field(3, ge=1)
    """Attempts at a stage (U-Net, films, bundle) before its protocol has failed."""

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.resolve()

    @property
    def names(self) -> frozenset[str]:
        """The names of `trainer_hosts`, in small letters."""
        return frozenset(name.strip().lower() for name in self.trainer_hosts.split(",") if name.strip())

    @property
    def allowed_data(self) -> Path | None:
        """Where data may be; None: anywhere."""
        return self.data_root or (self.data.parent if self.data else None)
