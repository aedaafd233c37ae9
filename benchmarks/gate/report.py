"""The findings as Markdown."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import NamedTuple

from benchmarks import page
from benchmarks.gate.cases import AS_IT_IS
from benchmarks.page import Goal, table
from cxr.gate import GateModel

PACKAGES = ("numpy", "scikit-learn", "onnxruntime", "pillow")
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


def blocks(evaluated: Sequence[Evaluated], absent: Mapping[str, str]) -> list[str]:
    about = (
        "Intervals are Wilson's, 95 %; films of one patient are not independent, so they are somewhat too narrow. Each figure is of gates "
        "that have not seen the patient."
    )
    measured = [block for found in evaluated for block in _section(found)]
    missing = [block for name, reason in absent.items() for block in (f"## {name}", f"Not measured: {reason}")]
    goals = page.goals(goal for found in evaluated for goal in goals_of(found))
    return [*page.head("The input gate", about, PACKAGES, "one"), goals, *measured, *missing]


def goals_of(found: Evaluated) -> list[Goal]:
    refused = _refused(found)
    every = Rate(sum(rate.count for rate in refused.values()), sum(rate.n for rate in refused.values()))
    goals = (
        ("held-out frontal films pass", found.passed[AS_IT_IS], ACCEPTED_GOAL),
        ("inverted films are refused", refused["inverted"], REFUSED_GOAL),
        ("spoilt films of all kinds are refused", every, REFUSED_GOAL),
    )
    return [Goal(f"{found.recipe}: {text} ≥ {goal:.0%}", str(rate), rate.count / rate.n >= goal) for text, rate, goal in goals]


def _refused(found: Evaluated) -> dict[str, Rate]:
    """By kind of spoilt picture."""
    return {kind: Rate(rate.n - rate.count, rate.n) for kind, rate in found.passed.items() if kind != AS_IT_IS and rate.n}


def _section(found: Evaluated) -> list[str]:
    frontal = found.passed[AS_IT_IS]
    refused = {"frontal film as it is": Rate(frontal.n - frontal.count, frontal.n)} | _refused(found)
    return [
        f"## {found.recipe}",
        f"{found.gate.films} films of {', '.join(found.gate.cohorts)}; threshold {found.gate.threshold:.2f}, which "
        f"{found.gate.accepted:.1%} of held-out films stay under.",
        table(("picture", "refused"), refused.items()),
        table(
            ("file", "answer", "score"),
            [(name, text, "" if score is None else f"{score:.2f}") for name, (text, score) in found.said.items()],
        ),
        table(("work", "own CPU, ms (median)"), [(name, f"{value:.1f}") for name, value in found.milliseconds.items()]),
    ]
