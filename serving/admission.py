"""How much work is let in: a bounded number of requests and a bounded number of buffered bytes; the rest is told to come back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio

from serving.errors import ProblemError

T = TypeVar("T")


class Place:
    """One admitted request; `hold` counts the bytes it keeps in memory."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self.held = 0

    def hold(self, count: int) -> None:
        """Raises ProblemError `busy` when all requests together would hold more than the limit."""
        if self._admission.held + count > self._admission.max_held:
            raise _busy()
        self._admission.held += count
        self.held += count


class Admission:
    """Counts are changed on the event loop only, so they need no lock."""

    def __init__(self, workers: int, queue: int, max_held: int) -> None:
        self._limiter = anyio.CapacityLimiter(workers)
        self._capacity = workers + queue
        self.inside = 0
        self.held = 0
        self.max_held = max_held

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for one request. Raises ProblemError `busy` when all are taken."""
        if self.inside >= self._capacity:
            raise _busy()
        self.inside += 1
        place = Place(self)
        try:
            yield place
        finally:
            self.inside -= 1
            self.held -= place.held

    async def compute(self, work: Callable[[], T]) -> T:
        """Run `work` on a worker thread, as soon as one is free."""
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def _busy() -> ProblemError:
    return ProblemError("busy", "All places are taken. Send the same request again after the time in Retry-After.", retry_after=1)
