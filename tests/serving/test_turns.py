"""Large bodies are read when they are about to be computed; nobody waits long, and nobody for whoever sends slowly."""

import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from threading import Event
from typing import TypeVar

import anyio
import pytest

from serving import admission as module
from serving.admission import LARGE_BYTES, Admission, Place
from serving.client import ask
from serving.errors import ProblemError
from serving.server import running
from serving.settings import Settings
from tests.serving.tiny_bundle import encoded, film, loader

T = TypeVar("T")
SOON = 0.1  # seconds: ten looks whether a turn has come


@asynccontextmanager
async def busy(admission: Admission, films: int) -> AsyncIterator[Event]:
    """So many films being computed, or waiting for it, until the event is set."""
    go_on = Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(films):
            tasks.start_soon(admission.compute, lambda alone: go_on.wait(10))
        await anyio.sleep(SOON / 2)
        try:
            yield go_on
        finally:
            go_on.set()


def large(admission: Admission, within: ExitStack) -> Place:
    """A body of which so much is here that the rest has to wait."""
    place = within.enter_context(admission.place())
    place.hold(LARGE_BYTES + 1)
    return place


async def comes_soon(place: Place) -> bool:
    """Whether its turn comes within `SOON`."""
    with anyio.move_on_after(SOON) as waiting:
        await place.turn()
    return not waiting.cancelled_caught


def test_a_small_body_never_waits() -> None:
    admission = Admission(workers=1, queue=9, max_held=1 << 30)
    with admission.place() as place:
        place.hold(LARGE_BYTES)
        assert not place.waits
        place.hold(1)
        assert place.waits


def test_no_more_large_bodies_are_read_than_are_computed_at_a_time() -> None:
    async def bodies() -> None:
        admission = Admission(workers=2, queue=9, max_held=1 << 30)
        with ExitStack() as within:
            one, two, three = (large(admission, within) for _ in range(3))
            assert await comes_soon(one) and await comes_soon(two) and not await comes_soon(three)
            one.arrived()  # and would be computed at once
            assert await comes_soon(three)
            assert not (one.waits or two.waits or three.waits)

    anyio.run(bodies)


def test_a_large_body_waits_while_enough_films_wait_to_be_computed() -> None:
    async def bodies() -> None:
        admission = Admission(workers=2, queue=9, max_held=1 << 30)
        with ExitStack() as within:
            place = large(admission, within)
            async with busy(admission, 4) as go_on:  # two are computed, two wait
                assert not await comes_soon(place)
                go_on.set()
                assert await comes_soon(place)
            place.arrived()
            async with busy(admission, 3):
                assert await comes_soon(large(admission, within))

    anyio.run(bodies)


def test_turns_come_in_the_order_of_arrival() -> None:
    async def bodies() -> None:
        admission, order = Admission(workers=1, queue=9, max_held=1 << 30), []

        async def read(name: str, place: Place) -> None:
            await place.turn()
            order.append(name)
            await anyio.sleep(2 * module.LOOK_SECONDS)
            place.arrived()

        with ExitStack() as within:
            async with anyio.create_task_group() as tasks:
                for name in "abcd":
                    tasks.start_soon(read, name, large(admission, within))
                    await anyio.sleep(0)
        assert order == list("abcd")

    anyio.run(bodies)


def test_a_body_that_comes_slowly_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READING_SECONDS", SOON)

    async def bodies() -> None:
        admission = Admission(workers=1, queue=9, max_held=1 << 30)
        with ExitStack() as within:
            slow, next_one = large(admission, within), large(admission, within)
            assert await comes_soon(slow) and not await comes_soon(next_one)
            assert await comes_soon(next_one)

    anyio.run(bodies)


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 3 * SOON)

    async def bodies() -> None:
        admission = Admission(workers=1, queue=9, max_held=1 << 30)
        with ExitStack() as within:
            places = [large(admission, within) for _ in range(5)]
            async with busy(admission, 2):
                began = time.monotonic()
                async with anyio.create_task_group() as tasks:
                    for place in places:
                        tasks.start_soon(place.turn)
                assert 3 * SOON <= time.monotonic() - began < 10 * SOON  # each its own time, not one after the other

    anyio.run(bodies)


def test_no_more_wait_for_a_turn_than_the_queue_has_places_and_small_bodies_are_let_in_all_the_same() -> None:
    async def bodies() -> None:
        admission = Admission(workers=1, queue=2, max_held=1 << 30)
        with ExitStack() as within:
            first, second, third = (large(admission, within) for _ in range(3))
            async with busy(admission, 2), anyio.create_task_group() as tasks:
                tasks.start_soon(first.turn)
                await anyio.sleep(0)
                with pytest.raises(ProblemError, match="All places are taken"):
                    await second.turn()
                within.enter_context(admission.place()).hold(LARGE_BYTES)
                tasks.cancel_scope.cancel()  # its sender is gone
            assert admission.waiting == 0
            assert await comes_soon(third)

    anyio.run(bodies)


def test_who_leaves_makes_room() -> None:
    async def bodies() -> None:
        admission = Admission(workers=1, queue=9, max_held=1 << 30)
        with ExitStack() as within:
            with ExitStack() as cut_off:
                assert await comes_soon(large(admission, cut_off))
                assert not await comes_soon(large(admission, within))
            assert await comes_soon(large(admission, within))
        assert not admission.reading

    anyio.run(bodies)


def test_films_that_come_at_once_are_held_a_few_at_a_time_and_their_wait_is_no_silence_of_theirs(
    bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Admission] = []

    class Watched(Admission):
        most = 0

        def __init__(self, *given: int) -> None:
            super().__init__(*given)
            made.append(self)

        async def compute(self, work: Callable[[bool], T]) -> T:
            self.most = max(self.most, self.held)
            return await super().compute(work)

    monkeypatch.setattr("serving.app.Admission", Watched)
    body, senders = encoded(film(size=2000)), 12
    settings = Settings(workers=1, alone=1, queue=senders, body_idle_seconds=0.3)
    with running(settings, loader(bundle_folder)) as url, ThreadPoolExecutor(senders) as pool:
        answers = list(pool.map(lambda _: ask(url, "/predict", body), range(senders)))
    assert [answer["model"]["version"] for answer in answers] == ["7"] * senders
    assert len(body) > 8 * LARGE_BYTES
    assert made[0].most < senders * len(body) / 2
