"""What a worker needs of a node, and whether the nodes of a Ray cluster have it: CPUs, GPUs, the state folder, the same code."""

import math
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from services.executors.cluster_connection import first_line
from services.executors.cluster_node import Seen, look, versions
from services.executors.devices import asked_for
from services.executors.executor import NoSuchDevice, WorkersFail
from services.executors.mailbox import mailbox_folder
from training.protocol.job import Job

ANSWER_SECONDS = 60.0


def resources(jobs: Sequence[Job]) -> dict[str, Any]:
    """What Ray sets aside for one worker, so that it can train any of these units."""
    on_gpu = [job for job in jobs if job.unit.device == "cuda"]
    on_cpu = [job for job in jobs if job.unit.device == "cpu"]
    cpus = max([job.unit.threads for job in on_gpu] + [job.unit.threads * job.unit.gpus_per_unit for job in on_cpu])
    each, shared = asked_for(jobs)
    # Rounded down: Ray counts ten-thousandths, and three times 0.3334 would not fit on one.
    return task_options(cpus, each if each != 1 else math.floor(10_000 / shared) / 10_000)


def task_options(cpus: int, gpus: float) -> dict[str, Any]:
    """In Ray's words; what fails is the schedule's to try again."""
    return {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}


def must_fit(wanted: Mapping[str, Any], nodes: Sequence[Mapping[str, float]]) -> None:
    """Raises NoSuchDevice, WorkersFail when no node has, even when it is idle, what a worker is to get."""
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("GPU", "CPU")}
    cluster = f"the Ray cluster ({len(nodes)} node(s), {sum(node.get('CPU', 0) for node in nodes):g} CPUs)"
    if (gpus := wanted["num_gpus"]) > most["GPU"]:
        has = (
            f"has at most {most['GPU']:g} GPU(s) on a node, of the {gpus:g} that a unit wants"
            if most["GPU"]
            else "has no NVIDIA GPU"
        )
        raise NoSuchDevice(
            f"the recipe asks for device 'cuda' and {cluster} {has}; set device to 'cpu' in the recipe, or add GPU nodes"
        )
    if (cpus := wanted["num_cpus"]) > most["CPU"]:
        raise WorkersFail(
            f"the recipe asks for {cpus} CPUs for each unit (threads x gpus_per_unit) and {cluster} has at most {most['CPU']:g} on a "
            "node; set threads to fewer in the recipe, or add larger nodes"
        )


def ask_nodes(ray: ModuleType, home: Path, job: Job) -> None:
    """Whether every node sees the state folder and would give the unit the same fingerprint. Raises WorkersFail naming one."""
    folder = mailbox_folder(home, f"probe-{secrets.token_hex(4)}")
    folder.mkdir(parents=True)
    note, word, unit = folder / "note", secrets.token_hex(16), job.unit.model_dump_json()
    note.write_text(word)
    names = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    try:
        answers = {
            name: ray.remote(look).options(**task_options(0, 0), **_on(name)).remote(note, folder / name, unit) for name in names
        }
        for name, answer in answers.items():
            _judge(ray.get(answer, timeout=ANSWER_SECONDS), home, word, folder / name, job.unit.fingerprint)
    except (ray.exceptions.RayError, ConnectionError) as error:
        cause = getattr(error, "cause", None) or error
        raise WorkersFail(f"a node of the Ray cluster cannot run units: {first_line(cause)}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _judge(seen: Seen, home: Path, word: str, answer: Path, fingerprint: str) -> None:
    if seen.note != word or not answer.is_file() or answer.read_text() != word:
        found = seen.note if seen.note != word else "what it wrote is not here"
        raise WorkersFail(
            f"node {seen.host} does not share the state folder {home}: {found}. "
            "Every node must see one folder at this place (MDMT_HOME), and be allowed to write to it"
        )
    if seen.fingerprint != fingerprint:
        raise WorkersFail(
            f"node {seen.host} has {seen.versions}, and units are planned here with {versions()}: use one image for all nodes"
        )


def _on(node: str) -> dict[str, Any]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
