"""Units in containers, one per slot: the same worker as on this machine, with no more rights than it needs.

A container has the state at its place (read and write), the data (read), MLflow's network, and nothing else. What runs is known by
labels: `mdmt.stack` (this installation), `mdmt.role` (worker or stage), `mdmt.slot`. So a runner that was killed finds its workers
again and goes on with them.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event as Flag
from typing import Any

from docker.types import DeviceRequest, LogConfig, Mount

from services.executors import crew
from services.executors.container_engine import Engine
from services.executors.container_settings import ContainerSettings
from services.executors.container_worker import ContainerWorker, asked, kept_log
from services.executors.crew import WORKER_ENVIRONMENT, Crew, Hear, account_of_units, handed_on, signing
from services.executors.devices import deal
from services.executors.ending import cause_of
from services.executors.executor import Request, StageFailed, Stopped
from services.executors.mailbox import mailbox_folder
from training.protocol.job import Job
from training.protocol.schedule import Schedule

LOOK_SECONDS = 0.3
STACK, ROLE, SLOT, REQUEST = "mdmt.stack", "mdmt.role", "mdmt.slot", "mdmt.request"
log = logging.getLogger(__name__)


class ContainerExecutor:
    """`slots` containers. `home`: the state folder, which containers have at the same place."""

    def __init__(
        self,
        slots: int,
        home: Path,
        settings: ContainerSettings,
        stop: Flag | None = None,
        stack: str = "mdmt",
        environment: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> None:
        """`environment` is added to that of workers and stages; `engine`: the one that DOCKER_HOST names, unless given."""
        self._slots, self._home, self._settings = slots, home.resolve(), settings
        self._stop, self._stack = stop or Flag(), stack
        self._environment = handed_on() | dict(environment or {})
        self._engine = engine or Engine(self._stop)

    def plan(self, jobs: Sequence[Job]) -> tuple[Request, ...]:
        """A container per slot, with the arguments of the SDK's `containers.create` as options. Raises NoSuchDevice, WorkersFail."""
        dealt = deal(jobs, self._settings.gpus, self._slots, "the engine's machine (MDMT_GPUS)")
        image = self._engine.image_id(self._settings.unit_image) if dealt else ""
        return tuple(self._worker(slot, gpus, image) for slot, gpus in enumerate(dealt))

    def run(self, schedule: Schedule) -> None:
        """Work until nothing is left; workers of an earlier run are taken on. Raises Stopped, NoSuchDevice, WorkersFail."""
        requests = self.plan(list(schedule.jobs.values()))
        self._clear("stage", ())
        running = self._clear("worker", requests)

        def hire(request: Request, hear: Hear) -> ContainerWorker:
            name = str(request.options["name"])
            runs = name in running
            running.discard(name)
            return ContainerWorker(request, hear, self._engine, self._home, runs)

        Crew(requests, hire, self._stop).run(schedule)

    def stage(self, arguments: Sequence[str]) -> None:
        """Run an `mdmt` verb in a container. Raises StageFailed, Stopped."""
        self._clear("stage", ())
        name = f"{self._stack}-stage-{arguments[0]}"
        options = self._options(name, {ROLE: "stage"}, self._engine.image_id(self._settings.unit_image), ())
        environment = {**self._environment, **signing(arguments), "MDMT_HOME": str(self._home)}
        request = Request(0, ("mdmt", *arguments), environment, (), options)
        self._engine.start(**asked(request))
        try:
            while (end := self._engine.end(name)) is None:
                if self._stop.wait(LOOK_SECONDS):
                    self._end_softly([name])
                    raise Stopped(f"told to stop during {' '.join(arguments[:2])}")
            said = kept_log(self._engine, name, self._home)
        finally:
            self._engine.remove(name)
        if end.code:
            _, reason = cause_of(end.code, f"`mdmt {' '.join(arguments)}` in its container", end.out_of_memory)
            raise StageFailed(f"{reason}:\n{said}")

    def _worker(self, slot: int, gpus: tuple[str, ...], image: str) -> Request:
        name = f"{self._stack}-worker-{slot}"
        command = ("python", "-m", "training.protocol.worker", "--mailbox", str(mailbox_folder(self._home, name)))
        environment = {"MDMT_HOME": str(self._home), **WORKER_ENVIRONMENT, **self._environment, **account_of_units()}
        options = self._options(name, {ROLE: "worker", SLOT: str(slot)}, image, gpus)
        request = Request(slot, command, environment, gpus, options)
        options["labels"][REQUEST] = _digest(request)
        return request

    def _options(self, name: str, labels: Mapping[str, str], image: str, gpus: tuple[str, ...]) -> dict[str, Any]:
        unit = self._settings
        return {
            "name": name,
            "image": image,
            "labels": {STACK: self._stack, **labels},
            "user": unit.unit_user,
            "network": unit.unit_network,
            "mounts": [_mount(unit.state_volume, self._home), _mount(unit.data_volume, unit.data_root, read_only=True)],
            "tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,mode=1777,size={unit.unit_tmp}"},
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "mem_limit": unit.unit_memory,
            "memswap_limit": unit.unit_memory,
            "shm_size": unit.unit_shm,
            "nano_cpus": round(unit.unit_cpus * 1e9),
            "pids_limit": unit.unit_pids,
            "init": True,
            "log_config": LogConfig(type="json-file", config={"max-size": "10m", "max-file": "2"}),
            "device_requests": [DeviceRequest(driver="nvidia", device_ids=list(gpus), capabilities=[["gpu"]])] if gpus else [],
        }

    def _clear(self, role: str, wanted: Sequence[Request]) -> set[str]:
        """End and remove containers of this installation that are none of the `wanted`; names of those that are."""
        digests = {request.options["name"]: request.options["labels"][REQUEST] for request in wanted}
        found = self._engine.labelled({STACK: self._stack, ROLE: role})
        kept = {
            name
            for name, container in found.items()
            if name in digests and container.labels.get(REQUEST) == digests[name] and container.status != "created"
            and mailbox_folder(self._home, name).is_dir()
        }  # fmt: skip
        others = sorted(found.keys() - kept)
        if found:
            log.info("found %d %s container(s): %d taken on, %d ended", len(found), role, len(kept), len(others))
        self._end_softly(others)
        return kept

    def _end_softly(self, names: Sequence[str]) -> None:
        """SIGTERM, and after some seconds no mercy; then they are removed."""
        for name in names:
            self._engine.kill(name, "SIGTERM")
        give_up = time.monotonic() + crew.STOP_SECONDS
        while time.monotonic() < give_up and any(self._engine.end(name) is None for name in names):
            time.sleep(LOOK_SECONDS)
        for name in names:
            self._engine.remove(name)


def _mount(source: str, target: Path, read_only: bool = False) -> Mount:
    return Mount(str(target), source, type="bind" if source.startswith("/") else "volume", read_only=read_only)


def _digest(request: Request) -> str:
    """Of all that was asked for: a container of another image, or with other limits, is not taken on."""
    return hashlib.sha256(
        json.dumps([request.command, request.environment, request.options], sort_keys=True).encode()
    ).hexdigest()[:16]
