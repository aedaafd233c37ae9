"""Which GPUs a slot gets. Names are those of CUDA_VISIBLE_DEVICES: numbers or UUIDs."""

from collections.abc import Sequence

from services.executors.executor import NoSuchDevice
from training.protocol.job import Job


def deal(jobs: Sequence[Job], gpus: Sequence[str], slots: int, where: str) -> list[tuple[str, ...]]:
    """The devices of each slot that is filled: () on a CPU, else `gpus_per_unit` neighbours, shared by `units_per_gpu` slots.

    So there may be fewer than `slots`. Raises NoSuchDevice naming what `where` (for people) has.
    """
    wanting = [job for job in jobs if job.unit.device == "cuda"]
    slots = min(slots, len(jobs))
    if not wanting:
        return [()] * slots
    each = max(job.unit.gpus_per_unit for job in wanting)
    shared = min(job.running.units_per_gpu for job in wanting)
    if len(gpus) < each:
        has = f"has {len(gpus)} of the {each} GPUs that a unit wants" if gpus else "has no NVIDIA GPU"
        raise NoSuchDevice(f"the recipe asks for device 'cuda' and {where} {has}; set device to 'cpu' in the recipe, or add GPUs")
    groups = [tuple(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)]
    places = groups * shared  # every group once before any is shared
    return places[:slots]
