"""How much work is let in: bounded uploads, bounded bytes, bounded predictions; the rest is told to come back.

Beyond its beginning a large body is left with its sender while as many films as are computed at a time wait to be computed: what waits
in memory is answered no sooner. 32 films of 8 MB at once take 260 MB less. No more of them wait than there are places in the queue.

Uploads being read and predictions waiting have places of their own: whoever opens uploads and sends nothing takes none of the places
that predictions need. And one client never takes more than half of the uploads and bytes, so that another always finds room; without
keys nobody can be told apart, all come from this machine, and whoever comes may have all of it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from serving.allocator import give_back
from serving.errors import ProblemError
from serving.workers import Workers

T = TypeVar("T")
COME_BACK = 1  # seconds
LARGE_BYTES = 256 << 10  # a body of which more has come waits for its turn, and is then read to its end
TURN_SECONDS, LOOK_SECONDS = 2.0, 0.01  # the longest wait for a turn, and between two looks whether it has come
READING_SECONDS = 0.5  # a body that takes longer is not waited for: its sender is slow, or wants others to wait
BURST_BYTES = 32 << 20  # of uploads held at once: what they leave behind is given back when the last one is answered


class Place:
    """One admitted request; `hold` counts the bytes it keeps in memory."""

    def __init__(self, admission: "Admission", client: str) -> None:
        self._admission, self._client = admission, client
        self.held = 0
        self._had_its_turn = False

    @property
    def waits(self) -> bool:
        """Whether the rest of the body is to be read in its turn."""
        return self.held > LARGE_BYTES and not self._had_its_turn

    async def turn(self) -> None:
        """Wait until that has come. Raises ProblemError `busy`."""
        await self._admission.turn(self)
        self._had_its_turn = True

    def arrived(self) -> None:
        """The whole body is here."""
        self._admission.reading.pop(self, None)

    def hold(self, count: int) -> None:
        """Raises ProblemError `busy` when all requests together would hold more than the limit, `too-many-requests` when this client's
        would hold more than half of it."""
        admission = self._admission
        if admission.held + count > admission.max_held:
            raise _busy()
        # Alone, a client may send one upload of any allowed size; several must leave room for others.
        if (
            self._client
            and admission.held_by[self._client] > self.held
            and admission.held_by[self._client] + count > admission.max_held / 2
        ):
            raise _too_many("bytes")
        admission.held += count
        admission.held_by[self._client] += count
        self.held += count


class Admission:
    """Counts are changed on the event loop only, so they need no lock."""

    def __init__(self, workers: int, queue: int, max_held: int, uploads: int = 512) -> None:
        self.workers = Workers(workers)
        self.capacity = workers + queue
        self.uploads = uploads
        self.max_held = max_held
        self.inside = 0  # requests, whether read, waiting or computed
        self.computing = 0  # predictions, whether waiting or computed
        self.held = 0
        self._burst = 0  # most bytes that were held at once since memory was last given back
        self.inside_of: Counter[str] = Counter()
        self.held_by: Counter[str] = Counter()
        self.reading: dict[Place, float] = {}  # whose large bodies come in, since when (monotonic time)
        self.waiting = 0  # large bodies whose turn has not come yet
        self._lane = asyncio.Lock()  # which of them is next: they come in the order of their arrival

    @property
    def coming(self) -> int:
        """Large bodies that come in, and soon wait to be computed; slow ones are left out."""
        since = time.monotonic() - READING_SECONDS
        return sum(began > since for began in self.reading.values())

    @contextmanager
    def place(self, client: str = "") -> Iterator[Place]:
        """A place for one request of a client, "" where clients are not told apart. Raises ProblemError `busy` when there is none,
        `too-many-requests` when this client has half of them."""
        if self.computing >= self.capacity or self.inside >= self.uploads:
            raise _busy()  # before the body is read: it would wait for nothing
        if client and self.inside_of[client] >= max(1, self.uploads // 2):
            raise _too_many("uploads")
        self.inside += 1
        self.inside_of[client] += 1
        place = Place(self, client)
        try:
            yield place
        finally:
            self.inside -= 1
            place.arrived()
            self.held -= place.held
            _less(self.inside_of, client, 1)
            _less(self.held_by, client, place.held)
            self._burst = max(self._burst, self.held + place.held)
            if not self.inside and self._burst > BURST_BYTES:
                self._burst = 0
                with suppress(RuntimeError):  # the service ends, and its memory with it
                    self.workers.submit(give_back)

    async def turn(self, place: Place) -> None:
        """Wait until fewer films wait to be computed, or soon will, than are computed at a time; not for ever.

        Raises ProblemError `busy` at once when too many wait already. Small bodies are not refused for that: whoever begins large ones
        and sends no more keeps none of them out.
        """
        if self.computing + self.waiting + self.coming >= self.capacity:
            raise _busy()
        at_a_time = self.workers.count
        self.waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(TURN_SECONDS), self._lane:
                    while max(0, self.computing - at_a_time) + self.coming >= at_a_time:
                        await asyncio.sleep(LOOK_SECONDS)
        finally:
            self.waiting -= 1
        self.reading[place] = time.monotonic()

    async def compute(self, work: Callable[[bool], T]) -> T:
        """Run `work` on a worker thread, as soon as one is free; it is told whether it is the only one, and may use all cores.

        Raises ProblemError `busy` when too many wait already.
        """
        if self.computing >= self.capacity:
            raise _busy()
        self.computing += 1
        try:
            return await asyncio.wrap_future(self.workers.submit(lambda: work(self.computing == 1)))
        finally:
            self.computing -= 1


def _less(counts: Counter[str], client: str, count: int) -> None:
    counts[client] -= count
    if counts[client] <= 0:
        del counts[client]  # clients come and go, the table must not grow with them


def _busy() -> ProblemError:
    detail = "All places are taken. Send the same request again after the time in Retry-After."
    return ProblemError("busy", detail, retry_after=COME_BACK)


def _too_many(what: str) -> ProblemError:
    detail = f"This client has half of the {what} that are allowed at once. Wait for its other requests to be answered."
    return ProblemError("too-many-requests", detail, retry_after=COME_BACK)
