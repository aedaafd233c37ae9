"""What happened in a protocol, numbered, in a ring of bounded length: a reader that was cut off goes on where it was."""

import json
import uuid
from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import Any


@dataclass(frozen=True)
class Happening:
    """One server-sent event."""

    number: int
    kind: str
    data: dict[str, Any]


class EventLog:
    """Written by the driver's thread, read by any number of streams. Numbers begin anew with the process; `born` tells them apart."""

    def __init__(self, kept: int) -> None:
        self.born = uuid.uuid4().hex[:8]
        self._ring: deque[Happening] = deque(maxlen=kept)
        self._lock = Lock()
        self.newest = 0

    def add(self, kind: str, /, **data: Any) -> None:
        with self._lock:
            self.newest += 1
            self._ring.append(Happening(self.newest, kind, data))

    def after(self, number: int) -> list[Happening]:
        """What came after the event of that number."""
        with self._lock:
            return [happening for happening in self._ring if happening.number > number]

    def position(self, last_id: str | None) -> int | None:
        """The number behind a Last-Event-ID, or None when what followed it is not known any more: begin with a snapshot then."""
        born, _, number = (last_id or "").partition("-")
        if born != self.born or not (number.isascii() and number.isdigit() and len(number) < 19):
            return None
        return int(number) if self.oldest - 1 <= int(number) <= self.newest else None

    @property
    def oldest(self) -> int:
        """Number of the oldest event that is kept; of the next one when there is none."""
        with self._lock:
            return self._ring[0].number if self._ring else self.newest + 1

    def frame(self, kind: str, number: int, data: dict[str, Any]) -> str:
        """One event as it goes over the wire; a figure that is no number is null, for NaN is no JSON."""
        strict = json.loads(json.dumps(data), parse_constant=lambda _: None)
        return f"id: {self.born}-{number}\nevent: {kind}\ndata: {json.dumps(strict)}\n\n"
