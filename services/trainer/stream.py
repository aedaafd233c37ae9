"""A protocol's events as they go over the wire (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import time
from collections.abc import AsyncIterator, Callable
from threading import Event
from typing import Any

import anyio

from services.trainer.protocol import Protocol
from services.trainer.states import OVER

LOOK_SECONDS = 0.2


def is_over(protocol: Protocol) -> bool:
    """Whether nothing more will happen, unless somebody submits it again."""
    return protocol.state in OVER


async def stream(
    protocol: Protocol, snapshot: Callable[[], dict[str, Any]], last_id: str | None, heartbeat: float, stopping: Event
) -> AsyncIterator[str]:
    """Frames, until the protocol is over or the service stops. A reader too slow for the ring gets a snapshot instead of a gap."""
    events = protocol.events
    position, silent_since = events.position(last_id), time.monotonic()
    yield "retry: 2000\n\n"
    while True:
        over = is_over(protocol)  # before the events are read: the last of them is then among them
        if position is None or position < events.oldest - 1:
            position = events.newest
            yield events.frame("snapshot", position, snapshot())
            silent_since = time.monotonic()
        for happening in events.after(position):
            position = happening.number
            yield events.frame(happening.kind, happening.number, happening.data)
            silent_since = time.monotonic()
        if over or stopping.is_set():
            return
        if time.monotonic() - silent_since >= heartbeat:
            yield ": still here\n\n"
            silent_since = time.monotonic()
        await anyio.sleep(LOOK_SECONDS)
