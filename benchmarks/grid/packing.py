"""How many units should share the cores: films per second of training, one process against two, one thread against two."""

import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from training.sharing import Asked
from training.side_by_side import side_by_side

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
    backbone, size, batch = case
    asked = Asked(backbone=backbone, size=size, batch=batch, device="cpu", threads=threads)
    with tempfile.TemporaryDirectory() as home:
        return sum(one.films_per_second for one in side_by_side(asked, Path(home), units, seconds))
