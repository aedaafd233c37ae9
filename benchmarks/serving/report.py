"""Measurements → Markdown; every verdict is computed from the figures."""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from statistics import median
from typing import Any, NamedTuple

from benchmarks.serving.load import Load
from cxr.host import cores, processor

VERSIONS = ("torch", "openvino", "onnxruntime", "fastapi", "uvicorn", "mlflow", "litserve", "bentoml", "ray")


class Cell(NamedTuple):
    """One combination of networks and film."""

    backbone: str
    unet: str
    kind: str


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
    """A contender in one round: load by concurrency, seconds to the first answer, MiB under load."""

    loads: dict[int, Load]
    start: float
    memory: float

    @property
    def p50(self) -> float:
        return median(self.loads[1].ms or [float("nan")])

    @property
    def best_rate(self) -> float:
        return max(load.rate for load in self.loads.values())


@dataclass
class Results:
    """Lists have one entry per round."""

    arguments: Sequence[str]
    rounds: int
    window: float
    bare: dict[Cell, list[Bare]] = field(default_factory=dict)
    measured: dict[tuple[Cell, str], list[Measured]] = field(default_factory=dict)
    floors: dict[tuple[str, str], list[list[dict[str, Any]]]] = field(default_factory=dict)
    study: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    minutes: float = 0.0


def rate(loops: list[dict[str, Any]]) -> float:
    """Films a second of loops that ran side by side."""
    return sum(len(loop["ms"]) / loop["seconds"] for loop in loops)


def markdown(results: Results) -> str:
    """The whole report."""
    command = "python -m benchmarks.serving.run " + " ".join(results.arguments)
    installed = {name: _version(name) for name in VERSIONS}
    lines = [
        "# Serving: the service, its peers and the limit",
        "",
        "Research use only, not a medical device. Generated films, seeded networks; U-Net at 256 px, crop, network at 224 px.",
        "",
        f"- Machine: {processor()}, {cores()} cores, Linux {platform.release()}, Python {platform.python_version()}",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in installed.items())}",
        f"- Command: `{command.strip()}`; {results.rounds} rounds, windows of {results.window:g} s, {results.minutes:.1f} minutes",
        "- Limit: the same preparation and graphs in a loop without HTTP on OpenVINO in float32. `p50` from one process of two threads,",
        "  films/s from the better of that and two processes of one thread. All figures are medians over rounds; ratios are taken",
        "  within a round. Peers run the same preparation with eager torch, in their default settings. Memory is proportional (PSS).",
        "",
        *_goals(results),
        *_tables(results),
        *_floors(results),
    ]
    if results.missing:
        lines += ["## Not run", "", *(f"- {name}: {why}" for name, why in results.missing.items()), ""]
    return "\n".join(lines)


def _goals(results: Results) -> list[str]:
    lines = ["## Goals", "", "| goal | figure | |", "|---|---|---|"]
    for cell, rounds in results.bare.items():
        ours = results.measured.get((cell, "ours"), [])
        pairs = list(zip(ours, rounds, strict=False))
        if not pairs:
            continue
        name = f"{cell.backbone}, {cell.kind}"
        slower = median(m.p50 / b.p50 for m, b in pairs)
        lines.append(_goal(f"{name}: p50 at c = 1 ≤ 1.10 × bare", slower, slower <= 1.10, "×"))
        for c in (8, 32):
            share = median(m.loads[c].rate / b.rate for m, b in pairs)
            lines.append(_goal(f"{name}: films/s at c = {c} ≥ 0.95 × best bare", share, share >= 0.95, "×"))
        peers = {peer: rows for (where, peer), rows in results.measured.items() if where == cell and peer != "ours"}
        if peers:
            best = max(peers, key=lambda peer: median(row.best_rate for row in peers[peer]))
            ahead = median(m.best_rate / p.best_rate for m, p in zip(ours, peers[best], strict=False))
            lines.append(_goal(f"{name}: films/s ≥ 2.5 × best peer ({best})", ahead, ahead >= 2.5, "×"))
            lines.append(_goal(f"{name}: films/s ≥ 5 × best peer ({best})", ahead, ahead >= 5, "×"))
        memory, start = median(m.memory for m in ours), median(m.start for m in ours)
        lines.append(_goal(f"{name}: memory ≤ 300 MB", memory * 1.048576, memory * 1.048576 <= 300, " MB"))
        lines.append(_goal(f"{name}: start to first answer ≤ 2.5 s", start, start <= 2.5, " s"))
    return [*lines, ""]


def _goal(text: str, figure: float, reached: bool, unit: str) -> str:
    return f"| {text} | {figure:.{0 if unit == ' MB' else 2}f}{unit} | {'reached' if reached else 'not reached'} |"


def _tables(results: Results) -> list[str]:
    lines: list[str] = []
    for cell, rounds in results.bare.items():
        p50, limit = median(bare.p50 for bare in rounds), median(bare.rate for bare in rounds)
        cpu = median(loop["cpu_ms"] for bare in rounds for loop in bare.narrow)
        lines += [
            f"## {cell.backbone}, {cell.kind}",
            "",
            f"Bare: p50 {p50:.1f} ms on two threads, {limit:.1f} films/s at best, {cpu:.1f} ms of one core per film.",
            "",
            "| | p50 c=1, ms (× bare) | p95 c=1 | c=8 films/s (of the limit), p95 ms | c=32 the same | errors | start s | MB |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for (where, name), rows in results.measured.items():
            if where == cell:
                lines.append(_row(name, rows, rounds))
        lines.append("")
    return lines


def _row(name: str, rows: list[Measured], rounds: list[Bare]) -> str:
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
    parts += [f"{errors}/{total}", f"{median(m.start for m in rows):.1f}", f"{median(m.memory for m in rows) * 1.048576:.0f}"]
    return f"| {' | '.join(parts)} |"


def _floors(results: Results) -> list[str]:
    lines = ["## The floor itself", "", "mobilenet_v2 and JPEG, two processes of one thread, no HTTP.", ""]
    lines += ["| engine | U-Net | films/s | × the first row | ms of one core |", "|---|---|---|---|---|"]
    first = next(iter(results.floors.values()), [])
    for (engine, unet), rounds in results.floors.items():
        gain = median(rate(now) / rate(then) for now, then in zip(rounds, first, strict=True))
        cpu = median(loop["cpu_ms"] for loops in rounds for loop in loops)
        lines.append(f"| {engine} | {unet} | {median(rate(loops) for loops in rounds):.1f} | {gain:.2f} | {cpu:.1f} |")
    return [*lines, "", *results.study]


def _p95(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[int(0.95 * (len(ordered) - 1))] if ordered else float("nan")


def _version(name: str) -> str:
    from benchmarks.serving.contenders import ENVIRONMENT

    for folder in [*(ENVIRONMENT / "lib").glob("python3*/site-packages"), None]:
        try:
            found = metadata.Distribution.discover(name=name, **({"path": [str(folder)]} if folder else {}))
            return next(iter(found)).version
        except StopIteration:
            continue
    return "missing"
