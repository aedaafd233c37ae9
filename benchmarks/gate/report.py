"""The findings as Markdown."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks import page
from benchmarks.page import Goal, table
from cxr.gate import GateModel
from training.evidence.gate_cases import AS_IT_IS, Said
from training.evidence.gate_rates import every, refused
from training.evidence.rates import Rate

PACKAGES = ("numpy", "scikit-learn", "onnxruntime", "pillow")
ACCEPTED_GOAL, REFUSED_GOAL = 0.95, 0.95


class Evaluated(NamedTuple):
    """One recipe: its gate, what held-out gates let through by kind of picture, what was said to files, and CPU milliseconds."""

    recipe: str
    gate: GateModel
    passed: Mapping[str, Rate]
    said: Mapping[str, Said]
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
    spoilt = refused(found.passed)
    goals = (
        ("held-out frontal films pass", found.passed[AS_IT_IS], ACCEPTED_GOAL),
        ("inverted films are refused", spoilt["inverted"], REFUSED_GOAL),
        ("spoilt films of all kinds are refused", every(spoilt.values()), REFUSED_GOAL),
    )
    return [Goal(f"{found.recipe}: {text} ≥ {goal:.0%}", str(rate), rate.share >= goal) for text, rate, goal in goals]


def _section(found: Evaluated) -> list[str]:
    frontal = found.passed[AS_IT_IS]
    kinds = {"frontal film as it is": Rate(frontal.n - frontal.count, frontal.n)} | refused(found.passed)
    return [
        f"## {found.recipe}",
        f"{found.gate.films} films of {', '.join(found.gate.cohorts)}; threshold {found.gate.threshold:.2f}, which "
        f"{found.gate.accepted:.1%} of held-out films stay under.",
        table(("picture", "refused"), kinds.items()),
        table(
            ("file", "answer", "score"),
            [(name, said, "" if said.score is None else f"{said.score:.2f}") for name, said in found.said.items()],
        ),
        table(("work", "own CPU, ms (median)"), [(name, f"{value:.1f}") for name, value in found.milliseconds.items()]),
    ]
