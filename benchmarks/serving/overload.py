"""More than the service can do: requests come at five times the rate that it can answer, whatever becomes of those before them."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

from benchmarks.page import Goal, table
from benchmarks.serving import load
from benchmarks.serving.service import WAITING

TIMES = 5
PROBE_SECONDS = 0.1
GIVEN_UP = 60.0  # seconds a client waits


@dataclass
class Overload:
    """`capacity` and `asked` in films per second, asked for `seconds`, the last of which was answered after `lasted`; milliseconds of what
    was answered, refused (429, 503) and of `/livez`; MiB."""

    capacity: float
    asked: float
    seconds: float
    lasted: float = 0.0
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    without_retry: int = 0
    others: Counter[int] = field(default_factory=Counter)
    health: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def measure(port: int, request: load.Request, memory: Callable[[], float], seconds: float) -> Overload:
    """What the service can do by itself first, then five times that for so long."""
    capacity = load.run(port, request, 8, min(seconds, 3)).rate
    return asyncio.run(_measured(Overload(capacity, TIMES * capacity, seconds), port, request.wire(port), memory))


async def _measured(found: Overload, port: int, wire: bytes, memory: Callable[[], float]) -> Overload:
    async def client() -> None:
        began = time.perf_counter()
        status, head = await _answer(port, wire)
        took = (time.perf_counter() - began) * 1000
        if status == 200:
            found.answered.append(took)
        elif status in (429, 503):
            found.refused.append(took)
            found.without_retry += "retry-after:" not in head
        else:
            found.others[status] += 1

    async def probe() -> None:
        began = time.perf_counter()
        status, _ = await _answer(port, f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        found.health.append((time.perf_counter() - began) * 1000 if status == 200 else float("inf"))

    started, clients, probes = time.perf_counter(), [], []
    for number in range(round(found.asked * found.seconds)):
        await asyncio.sleep(max(0.0, started + number / found.asked - time.perf_counter()))
        clients.append(asyncio.create_task(client()))
        if time.perf_counter() - started > PROBE_SECONDS * len(probes):
            if len(probes) % 10 == 0:  # it costs some milliseconds
                found.memory.append(memory())
            probes.append(asyncio.create_task(probe()))
    await asyncio.gather(*clients, *probes)
    found.lasted = time.perf_counter() - started
    return found


async def _answer(port: int, wire: bytes) -> tuple[int, str]:
    """Status and head on a connection of its own; 0 for one that was lost."""
    with suppress(OSError, EOFError, TimeoutError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await asyncio.wait_for(load.exchange(reader, writer, wire), GIVEN_UP)
        finally:
            writer.close()
    return 0, ""


def goals(found: Overload) -> Iterator[Goal]:
    lost = sum(found.others.values()) + found.without_retry
    yield Goal(f"at {TIMES} × capacity: only 200 and 429 or 503 with Retry-After", f"{lost} others", not lost)
    refusal, health = median(found.refused or [float("nan")]), median(found.health)
    yield Goal("refusals in ≤ 50 ms", f"{refusal:.0f} ms (median; p99 {_p(found.refused, 99):.0f})", refusal <= 50)
    yield Goal("/livez in ≤ 100 ms", f"{health:.0f} ms (median; p99 {_p(found.health, 99):.0f})", health <= 100)
    waits = (WAITING + 2) / (len(found.answered) / found.lasted) * 1000
    slowest = _p(found.answered, 99)
    yield Goal("answered p99 ≤ what a full queue takes", f"{slowest:.0f} of {waits:.0f} ms", slowest <= waits)
    growth = found.memory[-1] / found.memory[len(found.memory) // 4]
    yield Goal("memory flat", f"{growth:.2f} × that of the first quarter at the end", growth <= 1.1)


def blocks(found: Overload) -> list[str]:
    return [
        f"## {TIMES} times the capacity",
        f"Requests come at a fixed rate, {found.asked:.0f} films a second for {found.seconds:g} s on connections of their own, where "
        f"{found.capacity:.1f} a second can be answered. The generator shares the two cores with the service.",
        table(
            ("", "number", "median ms", "p99 ms"),
            [
                (name, len(ms), f"{median(ms or [float('nan')]):.0f}", f"{_p(ms, 99):.0f}")
                for name, ms in (("answered", found.answered), ("refused", found.refused), ("/livez", found.health))
            ],
        ),
        f"Memory {min(found.memory):.0f} to {max(found.memory):.0f} MiB.",
    ]


def _p(ms: list[float], percent: int) -> float:
    ordered = sorted(ms)
    return ordered[(len(ordered) - 1) * percent // 100] if ordered else float("nan")
