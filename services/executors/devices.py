"""Which GPUs a slot gets. Names are those of CUDA_VISIBLE_DEVICES: numbers or UUIDs."""

from collections.abc import Sequence

from services.executors.executor import NoSuchDevice
from training.protocol.job import Job


def asked_for(jobs: Sequence[Job]) -> tuple[int, int]:
    """GPUs of one worker that can train any of these units (0: none asks for any), and workers that may share one GPU."""
    on_gpu = [job for job in jobs if job.unit.device == "cuda"]
    each = max((job.unit.gpus_per_unit for job in on_gpu), default=0)
    return each, min((job.running.sharers for job in on_gpu), default=1)


def deal(jobs: Sequence[Job], gpus: Sequence[str], slots: int, where: str) -> list[tuple[str, ...]]:
    """The devices of each slot that is filled: () on a CPU, else `gpus_per_unit` neighbours, shared by `units_per_gpu` slots.

    So there may be fewer than `slots`. Raises NoSuchDevice naming what `where` (for people) has.
    """
    each, shared = asked_for(jobs)
    slots = min(slots, len(jobs))
    if not each:
        return [()] * slots
    if len(gpus) < each:
        has = f"has {len(gpus)} of the {each} GPUs that a unit wants" if gpus else "has no NVIDIA GPU"
        raise NoSuchDevice(f"the recipe asks for device 'cuda' and {where} {has}; set device to 'cpu' in the recipe, or add GPUs")
    groups = [tuple(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)]
    places = groups * shared  # every group once before any is shared
    return places[:slots]
