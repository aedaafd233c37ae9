"""What every executor is: one interface over processes of this machine, containers and a cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from training.protocol.job import Job
from training.protocol.schedule import Schedule


class WorkersFail(RuntimeError):
    """Workers cannot be started at all, or what starts them does not answer."""


class NoSuchDevice(WorkersFail):
    """The units ask for GPUs that are not there."""


class StageFailed(RuntimeError):
    """A stage (an `mdmt` verb run where torch is) ended badly; the message ends with the last lines of what it said."""


class Stopped(RuntimeError):
    """The executor was told to stop; units that were running were given back, and their last epochs are kept."""


@dataclass(frozen=True)
class Request:
    """What is started for one slot, as data: plans are compared, and what was started is held against its plan.

    `environment` holds what is added to that of the place; `gpus` names the devices of the slot; `options` are in the words of
    whatever starts it (the Docker SDK's arguments, a Ray task's resources).
    """

    slot: int
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Works off a schedule. Built with the number of slots and an event that tells it to stop."""

    def plan(self, jobs: Sequence[Job]) -> tuple[Request, ...]:
        """What `run` would start for these jobs, one request per slot; nothing is started. Raises NoSuchDevice."""

    def run(self, schedule: Schedule) -> None:
        """Work until nothing is left that can be done here or is being done elsewhere.

        Raises Stopped when told to stop, NoSuchDevice before anything is started, WorkersFail when workers cannot be had.
        """

    def stage(self, arguments: Sequence[str]) -> None:
        """Run an `mdmt` verb where torch is, e.g. ("prepare", "--recipe", "demo"). Raises StageFailed, Stopped."""
