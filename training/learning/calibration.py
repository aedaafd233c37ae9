"""Which way of computing is fastest for a network here, by a few steps of each; measured once per home and then always the same.

Layout and precision change the rounding of every sum, so all workers of one home have to compute alike: the first measurement that is
written stands. Delete its file to measure again.
"""

import copy
import hashlib
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional

from cxr import durable
from cxr.host import processor
from training.learning.devices import Way
from training.learning.network import Network
from training.sharing import FOLDER

WAYS = tuple(Way(layout, precision) for precision in ("float32", "bfloat16") for layout in ("channels_last", "contiguous"))
STEPS = 10  # of each way, interleaved, after one that is not counted
ON_CPU = 16  # films of a step there at most: what is compared is time per film, and large batches of large nets take minutes
GAIN = 0.95  # the first of `WAYS` stays unless another takes less than this share of its time


def way_here(home: Path, backbone: str, network: Network, size: int, batch: int, device: str, threads: int) -> Way:
    """The fastest way for `backbone` (the name of that of `network`) on films of `size` px, measured now if it never was."""
    place = _place(device, threads)
    question = {"backbone": backbone, "size": size, "batch": batch, "torch": torch.__version__, **place}
    name = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]
    file = home / FOLDER / f"{backbone}-{size}-{name}.json"
    if not file.is_file():
        seconds = calibrate(network, size, batch, device)
        answer = {str(way): seconds[way] for way in WAYS}
        found = {"asked": question, "seconds_per_film": answer, "way": list(fastest(seconds))}
        durable.write_once(file, json.dumps(found, indent=2).encode())  # another worker may have been first: that one counts
    return Way(*json.loads(file.read_text())["way"])


def calibrate(network: Network, size: int, batch: int, device: str, steps: int = STEPS) -> dict[Way, float]:
    """Seconds per film of a training step in each way, the median of `steps`. The network given, and random numbers, stay as they are."""
    state = torch.get_rng_state()
    films = min(batch, ON_CPU) if device == "cpu" else batch
    given = torch.randint(0, 256, (films, 1, size, size), dtype=torch.uint8, device=device)
    contenders = {way: copy.deepcopy(network).to(device, memory_format=way.memory_format).train() for way in WAYS}
    adams = {way: torch.optim.Adam(own.parameters(), fused=True) for way, own in contenders.items()}
    taken: dict[Way, list[float]] = {way: [] for way in WAYS}
    for _ in range(1 + steps):
        for way, own in contenders.items():
            taken[way].append(_step(own, adams[way], given, way))
    torch.set_rng_state(state)
    return {way: median(seconds[1:]) / films for way, seconds in taken.items()}


def fastest(seconds: dict[Way, float]) -> Way:
    """The way that takes least; the first of `WAYS` where no other is clearly faster, so that noise decides nothing."""
    best = min(seconds, key=lambda way: seconds[way])
    return best if seconds[best] < GAIN * seconds[WAYS[0]] else WAYS[0]


def _step(network: Network, adam: torch.optim.Adam, films: torch.Tensor, way: Way) -> float:
    """Seconds of one step: of this process's own work on a CPU, which others may share; of the clock on a GPU."""
    on_gpu = films.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    begun = clock()
    with torch.autocast(films.device.type, torch.bfloat16, enabled=way.precision == "bfloat16"):
        logits = network(films)
    nothing = torch.zeros(len(films), dtype=torch.int64, device=films.device)
    loss = torch.stack([functional.cross_entropy(rows.float(), nothing) for rows in logits.values()]).sum()
    adam.zero_grad(set_to_none=True)
    loss.backward()
    adam.step()
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - begun


def _place(device: str, threads: int) -> dict[str, Any]:
    if torch.device(device).type == "cuda":
        return {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {"device": processor(), "instructions": torch.backends.cpu.get_cpu_capability(), "threads": threads}
