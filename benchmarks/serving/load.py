"""A load generator that costs little: asyncio streams, kept-alive connections, one prepared request sent again and again."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

PIECE = 256 * 1024  # bytes


@dataclass(frozen=True)
class Request:
    """One HTTP/1.1 POST as bytes."""

    path: str
    body: bytes
    content_type: str

    def wire(self, port: int) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {self.content_type}\r\n"
        return (head + f"Content-Length: {len(self.body)}\r\n\r\n").encode() + self.body


@dataclass
class Load:
    """What came back: milliseconds of every 200, counts by status, and the wall time."""

    ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.ms) / self.seconds

    @property
    def errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)


def run(port: int, request: Request, connections: int, seconds: float) -> Load:
    """Keep `connections` requests under way for about that long; each connection finishes its last one."""
    return asyncio.run(_run(port, request.wire(port), connections, seconds))


def once(port: int, request: Request, seconds: float = 60) -> int:
    """Status of a single request."""
    return asyncio.run(_once(port, request.wire(port), seconds))


async def _once(port: int, wire: bytes, seconds: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(_ask(reader, writer, wire), seconds)
    finally:
        writer.close()


async def _run(port: int, wire: bytes, connections: int, seconds: float) -> Load:
    load, start = Load(), time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - start < seconds:
            began = time.perf_counter()
            try:
                status = await _ask(reader, writer, wire)
            except (OSError, asyncio.IncompleteReadError):
                status = 0
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            load.statuses[status] += 1
            if status == 200:
                load.ms.append((time.perf_counter() - began) * 1000)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    load.seconds = time.perf_counter() - start
    return load


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: bytes) -> int:
    return (await exchange(reader, writer, wire))[0]


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: bytes) -> tuple[int, str]:
    """Send a request and read its answer: status, and the head in small letters."""
    for start in range(0, len(wire), PIECE):  # a transport copies, twice, what the socket does not take at once
        writer.write(memoryview(wire)[start : start + PIECE])
        await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    if "chunked" in head:
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
    return int(head.split(" ", 2)[1]), head
