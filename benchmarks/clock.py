"""Contenders in turn, several rounds, so that whatever else the machine does meets all of them alike."""

import resource
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple


class Spent(NamedTuple):
    """Seconds: own processor time (of this process, its threads and its ended children) and wall-clock."""

    cpu: float
    wall: float

    def per(self, number: float) -> "Spent":
        return Spent(self.cpu / number, self.wall / number)


def now() -> Spent:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(time.process_time() + ended.ru_utime + ended.ru_stime, time.perf_counter())


def since(begun: Spent) -> Spent:
    ended = now()
    return Spent(ended.cpu - begun.cpu, ended.wall - begun.wall)


def spent(do: Callable[[], object]) -> Spent:
    begun = now()
    do()
    return since(begun)


def middle(rounds: list[Spent]) -> Spent:
    return Spent(median(r.cpu for r in rounds), median(r.wall for r in rounds))


def interleaved(contenders: Mapping[str, Callable[[], Spent]], rounds: int) -> dict[str, list[Spent]]:
    """Every contender once per round, after one round that is not counted. Each returns what a film, or a step, took."""
    taken: dict[str, list[Spent]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            one = run()
            if round_:
                taken[name].append(one)
    return taken


def ratio(of: list[Spent], to: list[Spent]) -> float:
    """Median over the rounds of own processor time of one per that of the other."""
    return median(a.cpu / b.cpu for a, b in zip(of, to, strict=True))
