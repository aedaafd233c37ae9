"""How many units should share the cores: films per second of training steps, one process against two, one thread against two.

`python -m benchmarks.grid.packing BACKBONE SIZE BATCH THREADS SECONDS` is one of the contenders.
"""

import sys
import time
from statistics import median
from typing import NamedTuple

from benchmarks.side_by_side import side_by_side, wait_for_the_others

CASES = (("shufflenet_v2_x0_5", 96, 64), ("mobilenet_v2", 96, 32), ("resnet18", 96, 32))


class Packed(NamedTuple):
    """Films per second of all processes together (medians)."""

    backbone: str
    size: int
    batch: int
    one: float  # 1 unit × 1 thread
    threads: float  # 1 unit × 2 threads
    units: float  # 2 units × 1 thread

    @property
    def gain(self) -> float:
        """Of sharing the cores between units, against one unit on both."""
        return self.units / self.threads


def measure(rounds: int, seconds: float, cases: tuple[tuple[str, int, int], ...] = CASES) -> list[Packed]:
    """The contenders of each case in turn."""
    found = []
    for case in cases:
        rates: dict[tuple[int, int], list[float]] = {}
        for _ in range(rounds):
            for units, threads in ((1, 1), (1, 2), (2, 1)):
                rates.setdefault((units, threads), []).append(_together(case, units, threads, seconds))
        found.append(Packed(*case, *(median(rates[key]) for key in ((1, 1), (1, 2), (2, 1)))))
    return found


def _together(case: tuple[str, int, int], units: int, threads: int, seconds: float) -> float:
    rates = side_by_side("benchmarks.grid.packing", (*case, threads, seconds), units, {"OMP_NUM_THREADS": str(threads)})
    return sum(map(float, rates))


def train(backbone: str, size: int, batch: int, threads: int, seconds: float) -> None:
    """Says that it is warm, waits for a line, trains for so long, says its films per second."""
    import torch

    from cxr.tasks import PROGNOSIS
    from training.learning.network import create

    torch.set_num_threads(threads)
    network = create(backbone, "scratch", (PROGNOSIS,), 128, 0.5, 0).to(memory_format=torch.channels_last).train()
    films = torch.randint(0, 256, (batch, 1, size, size), dtype=torch.uint8)
    labels = torch.arange(batch) % 2
    optimiser = torch.optim.Adam(network.parameters(), fused=True)

    def step() -> None:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(films)["prognosis"], labels).backward()
        optimiser.step()

    for _ in range(3):
        step()
    wait_for_the_others()
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        steps += 1
    sys.stdout.write(f"{steps * batch / (time.perf_counter() - begun)}\n")


if __name__ == "__main__":
    train(sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5]))
