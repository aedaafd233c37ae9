"""The findings as Markdown."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from math import sqrt
from pathlib import Path
from typing import NamedTuple

from benchmarks.gate.cases import AS_IT_IS
from cxr.gate import GateModel

ACCEPTED_GOAL, REFUSED_GOAL = 0.95, 0.95
Z = 1.959964  # of a 95 % interval


class Rate(NamedTuple):
    """`count` of `n`."""

    count: int
    n: int

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval (JASA 22, 1927)."""
        share, n = self.count / self.n, self.n
        middle = share + Z**2 / (2 * n)
        half = Z * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
        return (middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.count}/{self.n} = {self.count / self.n:.1%} ({low:.1%}–{high:.1%})"


class Evaluated(NamedTuple):
    """One recipe: its gate, what held-out gates let through by kind of picture, what was said to files, and CPU milliseconds."""

    recipe: str
    gate: GateModel
    passed: Mapping[str, Rate]
    said: Mapping[str, tuple[str, float | None]]
    milliseconds: Mapping[str, float]


def write(path: Path, evaluated: Sequence[Evaluated], absent: Mapping[str, str], most: int) -> None:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scikit-learn", "onnxruntime", "pillow"))
    lines = [
        "# The input gate",
        "",
        f"`python -m benchmarks.gate.run --most {most}` on {_processor()}, {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}, Python {platform.python_version()}, {versions}. Not a medical "
        "device. Intervals are Wilson's, 95 %; films of one patient are not independent, so they are somewhat too narrow.",
        "",
    ]
    for found in evaluated:
        lines += _section(found)
    for name, reason in absent.items():
        lines += [f"## {name}", "", f"Not measured: {reason}", ""]
    path.write_text("\n".join(lines))


def _section(found: Evaluated) -> list[str]:
    frontal = found.passed[AS_IT_IS]
    spoilt = {kind: Rate(rate.n - rate.count, rate.n) for kind, rate in found.passed.items() if kind != AS_IT_IS and rate.n}
    inverted = spoilt["inverted"]
    every = Rate(sum(rate.count for rate in spoilt.values()), sum(rate.n for rate in spoilt.values()))
    goals = (
        ("held-out frontal films pass", frontal, ACCEPTED_GOAL),
        ("inverted films are refused", inverted, REFUSED_GOAL),
        ("spoilt films of all kinds are refused", every, REFUSED_GOAL),
    )  # fmt: skip
    return [
        f"## {found.recipe}",
        "",
        f"{found.gate.films} films of {', '.join(found.gate.cohorts)}; threshold {found.gate.threshold:.2f}, which "
        f"{found.gate.accepted:.1%} of held-out films stay under. Each figure below is of gates that have not seen the patient.",
        "",
        "| goal | figure | reached |",
        "|---|---|---|",
        *(f"| {text} ≥ {goal:.0%} | {rate} | {'yes' if rate.count / rate.n >= goal else 'no'} |" for text, rate, goal in goals),
        "",
        "| picture | refused |",
        "|---|---|",
        f"| frontal film as it is | {Rate(frontal.n - frontal.count, frontal.n)} |",
        *(f"| {kind} | {rate} |" for kind, rate in spoilt.items()),
        "",
        "| file | answer | score |",
        "|---|---|---|",
        *(f"| {name} | {text} | {'' if score is None else f'{score:.2f}'} |" for name, (text, score) in found.said.items()),
        "",
        "| work | own CPU, ms (median) |",
        "|---|---|",
        *(f"| {name} | {value:.1f} |" for name, value in found.milliseconds.items()),
        "",
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
