"""The units of a schedule that wait, and which of them goes next: the longest way to the end first.

A unit's way is its expected seconds and those of the longest chain of units that wait for it: the critical path first, and among units
that nobody waits for the longest first, so that no worker is left with a long one when the others have nothing to do (Graham, "Bounds
on multiprocessing timing anomalies", 1969). One heap per backbone; what is out of date in a heap is dropped when it comes to the top.
"""

from collections.abc import Callable, Iterator, Mapping
from graphlib import TopologicalSorter
from heapq import heappop, heappush

from training.protocol.unit import Unit

TIE = 0.05  # ways that differ by less are equal: the estimates are no better
FAR = 0.5  # who has a way of at most this share of the time that the waiting work will take can begin later and not end last

Entry = tuple[float, int, str]  # −way, position, unit


class Waiting:
    """No unit waits until it is added. `seconds` is what each is expected to take; `is_ready` says whether a parent is."""

    def __init__(self, units: Mapping[str, Unit], seconds: Mapping[str, float], is_ready: Callable[[str], bool]) -> None:
        self._units, self._seconds, self._is_ready = units, seconds, is_ready
        self._positions = {unit: i for i, unit in enumerate(units)}
        self._children: dict[str, list[str]] = {}
        for fingerprint, unit in units.items():
            for parent in unit.parents:
                self._children.setdefault(parent, []).append(fingerprint)
        self.ways = self._longest_ways()
        self._waiting: set[str] = set()
        self._heaps: dict[str, list[Entry]] = {}
        self._work = 0.0  # expected seconds of all that waits

    def _longest_ways(self) -> dict[str, float]:
        ways: dict[str, float] = {}
        for unit in TopologicalSorter({unit: self._children.get(unit, ()) for unit in self._units}).static_order():
            ways[unit] = self._seconds[unit] + max((ways[child] for child in self._children.get(unit, ())), default=0.0)
        return ways

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def __contains__(self, unit: object) -> bool:
        return unit in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, unit: str) -> None:
        """It can be had now, or when its last parent is ready."""
        if unit not in self._waiting:
            self._waiting.add(unit)
            self._work += self._seconds[unit]
            self._offer(unit)

    def discard(self, unit: str) -> None:
        """It does not wait any more, if it did."""
        if unit in self._waiting:
            self._waiting.remove(unit)
            self._work -= self._seconds[unit]

    def became_ready(self, parent: str) -> None:
        """Units that start from `parent` may be able to begin now."""
        for child in self._children.get(parent, ()):
            self._offer(child)

    def _offer(self, unit: str) -> None:
        if unit in self._waiting and self.may_begin(unit):
            heap = self._heaps.setdefault(self._units[unit].backbone.name, [])
            heappush(heap, (-self.ways[unit], self._positions[unit], unit))

    def may_begin(self, unit: str) -> bool:
        """Whether all its parents are ready."""
        return all(self._is_ready(parent) for parent in self._units[unit].parents)

    def next(self, after: str | None, busy: int) -> str | None:
        """The unit with the longest way of those that may begin, or the first of backbone `after` where that is as good; it waits on.

        The same network again saves a process a quarter of a short unit (kernels made for its shapes). It is as good when the ways
        differ by less than TIE, or while so much work waits for the `busy` workers that the longest way is not what decides the end.
        """
        heads = {name: head for name in list(self._heaps) if (head := self._head(name))}
        if not heads:
            return None
        first, own = min(heads.values()), heads.get(after or "")
        if own is None:
            return first[2]
        longest, is_far = -first[0], -first[0] <= FAR * self._work / (busy + 1)
        return own[2] if is_far or -own[0] >= (1 - TIE) * longest else first[2]

    def _head(self, backbone: str) -> Entry | None:
        heap = self._heaps[backbone]
        while heap:
            if heap[0][2] in self._waiting and self.may_begin(heap[0][2]):
                return heap[0]
            heappop(heap)  # taken since, or a parent has to be trained again; it is offered again when that is ready
        del self._heaps[backbone]
        return None
