"""Measurements → Markdown; every verdict is computed from the figures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from benchmarks import page
from benchmarks.page import Goal, table
from benchmarks.peers import site_packages
from benchmarks.serving import overload
from benchmarks.serving.load import Load
from benchmarks.serving.overload import Overload

PACKAGES = ("torch", "openvino", "onnxruntime", "fastapi", "uvicorn", "mlflow", "litserve", "bentoml", "ray")


class Cell(NamedTuple):
    """One combination of networks and film."""

    backbone: str
    unet: str
    kind: str

    def __str__(self) -> str:
        return ", ".join((self.backbone, self.kind, *(() if self.unet == "product" else (f"U-Net on {self.unet}",))))


@dataclass(frozen=True)
class Bare:
    """The loops of one round: one process of two threads, two processes of one thread."""

    wide: list[dict[str, Any]]
    narrow: list[dict[str, Any]]

    @property
    def p50(self) -> float:
        return median(self.wide[0]["ms"])

    @property
    def rate(self) -> float:
        """The better of the two, films a second."""
        return max(rate(self.wide), rate(self.narrow))


@dataclass(frozen=True)
class Measured:
    """A contender in one round: load by concurrency, seconds to the first answer, MiB after the load and at most during it."""

    loads: dict[int, Load]
    start: float
    memory: float
    peak: float

    @property
    def p50(self) -> float:
        return median(self.loads[1].ms or [float("nan")])

    @property
    def best_rate(self) -> float:
        return max(load.rate for load in self.loads.values())


@dataclass
class Results:
    """Lists have one entry per round."""

    rounds: int
    window: float
    bare: dict[Cell, list[Bare]] = field(default_factory=dict)
    measured: dict[tuple[Cell, str], list[Measured]] = field(default_factory=dict)
    floors: dict[tuple[str, str], list[list[dict[str, Any]]]] = field(default_factory=dict)
    overload: Overload | None = None
    steps: list[str] = field(default_factory=list)
    study: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    minutes: float = 0.0


def rate(loops: list[dict[str, Any]]) -> float:
    """Films a second of loops that ran side by side."""
    return sum(len(loop["ms"]) / loop["seconds"] for loop in loops)


def best_peer(results: Results, cell: Cell) -> str | None:
    """The peer that answered most films a second, the median over the rounds that were run; None where none was."""
    peers = {peer: rows for (where, peer), rows in results.measured.items() if where == cell and peer != "ours"}
    return max(peers, key=lambda peer: median(row.best_rate for row in peers[peer]), default=None)


def blocks(results: Results) -> list[str]:
    """The whole report."""
    missing = "\n".join(f"- {name}: {why}" for name, why in results.missing.items())
    return [
        *page.head(
            "Serving: the service, its peers and the limit", _about(results), PACKAGES, "as said", elsewhere=[site_packages()]
        ),
        page.goals([*_goals(results), *(overload.goals(results.overload) if results.overload else ())]),
        *_tables(results),
        *results.steps,
        *(overload.blocks(results.overload) if results.overload else ()),
        *_floors(results),
        *(("## Not run", missing) if missing else ()),
    ]


def _about(results: Results) -> str:
    return (
        "Generated films, seeded networks; U-Net at 256 px, crop, network at 224 px. "
        f"{results.rounds} rounds, windows of {results.window:g} s, {results.minutes:.1f} minutes. All figures are medians over rounds; "
        "ratios are taken within a round. The limit is the same preparation and graphs in a loop without HTTP, in float32 on the engine "
        "that the service chose: `p50` from one process of two threads, films/s from the better of that and two processes of one thread. "
        "Peers run the same preparation with eager torch, in their default settings. Memory is proportional (PSS). "
        '"U-Net on resnet18" has the encoder that '
        "published pipelines take, three times the work of our own U-Net, which marks lungs as well as a second annotator "
        "(docs/evidence.md)."
    )


def _goals(results: Results) -> Iterator[Goal]:
    for cell, rounds in results.bare.items():
        ours = results.measured.get((cell, "ours"), [])
        pairs = list(zip(ours, rounds, strict=False))
        if not pairs:
            continue
        slower = median(m.p50 / b.p50 for m, b in pairs)
        yield Goal(f"{cell}: p50 at c = 1 ≤ 1.10 × bare", f"{slower:.2f}×", slower <= 1.10)
        for c in (8, 32):
            share = median(m.loads[c].rate / b.rate for m, b in pairs)
            yield Goal(f"{cell}: films/s at c = {c} ≥ 0.95 × best bare", f"{share:.2f}×", share >= 0.95)
        if best := best_peer(results, cell):
            theirs = results.measured[cell, best]
            ahead = median(m.best_rate / p.best_rate for m, p in zip(ours, theirs, strict=False))
            for wanted in (2.5, 5):
                yield Goal(f"{cell}: films/s ≥ {wanted:g} × best peer ({best})", f"{ahead:.2f}×", ahead >= wanted)
            lighter = results.measured.get((cell._replace(unet="product"), "ours"), [])
            if cell.unet != "product" and lighter:
                ahead = median(m.best_rate / p.best_rate for m, p in zip(lighter, theirs, strict=False))
                yield Goal(f"{cell}: films/s of ours with its own U-Net ≥ 5 × this peer", f"{ahead:.2f}×", ahead >= 5)
        start, memory, peak = (median(values) for values in zip(*((m.start, m.memory, m.peak) for m in ours), strict=True))
        yield Goal(f"{cell}: memory ≤ 300 MB", f"{_mb(memory)} MB, at most {_mb(peak)}", float(_mb(memory)) <= 300)
        yield Goal(f"{cell}: start to first answer ≤ 2.5 s", f"{start:.2f} s", start <= 2.5)


def _tables(results: Results) -> Iterator[str]:
    for cell, rounds in results.bare.items():
        p50, limit = median(bare.p50 for bare in rounds), median(bare.rate for bare in rounds)
        cpu = median(loop["cpu_ms"] for bare in rounds for loop in bare.narrow)
        yield f"## {cell}"
        yield f"Bare: p50 {p50:.1f} ms on two threads, {limit:.1f} films/s at best, {cpu:.1f} ms of one core per film."
        header = (
            "",
            "p50 c=1, ms (× bare)",
            "p95 c=1",
            "c=8 films/s (of the limit), p95 ms",
            "c=32 the same",
            "errors",
            "start s",
            "MB, at most",
        )
        rows = [_row(name, rows, rounds) for (where, name), rows in results.measured.items() if where == cell]
        yield table(header, rows)


def _row(name: str, rows: list[Measured], rounds: list[Bare]) -> list[str]:
    pairs = list(zip(rows, rounds, strict=False))
    alone = f"{median(m.p50 for m in rows):.1f} (×{median(m.p50 / b.p50 for m, b in pairs):.2f})"
    parts = [name, alone, f"{median(_p95(m.loads[1].ms) for m in rows):.0f}"]
    for c in (8, 32):
        share = median(m.loads[c].rate / b.rate for m, b in pairs)
        parts.append(
            f"{median(m.loads[c].rate for m in rows):.1f} ({share:.2f}), {median(_p95(m.loads[c].ms) for m in rows):.0f}"
        )
    errors = sum(load.errors for m in rows for load in m.loads.values())
    total = sum(sum(load.statuses.values()) for m in rows for load in m.loads.values())
    return [*parts, f"{errors}/{total}", f"{median(m.start for m in rows):.1f}", _megabytes(rows)]


def _megabytes(rows: list[Measured]) -> str:
    return f"{_mb(median(m.memory for m in rows))}, {_mb(median(m.peak for m in rows))}"


def _mb(mebibytes: float) -> str:
    return f"{mebibytes * 1.048576:.0f}"


def _floors(results: Results) -> list[str]:
    rows, first = [], next(iter(results.floors.values()), [])
    for names, rounds in results.floors.items():
        gain = median(rate(now) / rate(then) for now, then in zip(rounds, first, strict=True))
        cpu = median(loop["cpu_ms"] for loops in rounds for loop in loops)
        rows.append((*names, f"{median(rate(loops) for loops in rounds):.1f}", f"{gain:.2f}", f"{cpu:.1f}"))
    return [
        "## The floor itself",
        "mobilenet_v2 and JPEG, two processes of one thread, no HTTP.",
        table(("engine", "U-Net", "films/s", "× the first row", "ms of one core"), rows),
        *results.study,
    ]


def _p95(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[int(0.95 * (len(ordered) - 1))] if ordered else float("nan")
