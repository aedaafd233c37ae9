"""The experiments of the paper (section 3.2) as data: which tasks are learned, and what the backbone starts from."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


class Experiment(BaseModel):
    """`tasks`: what is learned; `parents`: experiments of the same fold whose backbones it starts from.

    No parent: the backbone's own initial weights. One parent: a copy of its backbone. Several: their average. Heads always start anew,
    because they belong to one task in one network. `training`: settings of the recipe that are others here, such as a loss that is tried.
    `answers`: those of the tasks that a version answers where this is what is served; the others are only learnt along. Empty: all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    tasks: tuple[str, ...]
    parents: tuple[str, ...] = ()
    training: dict[str, Any] = {}
    answers: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _answers_what_it_learns(self) -> Self:
        if unknown := [name for name in self.answers if name not in self.tasks]:
            raise ValueError(
                f"experiment {self.name!r} answers {', '.join(unknown)}, which it does not learn: {', '.join(self.tasks)}"
            )
        return self


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment(name="stl-prognosis", title="STL τ1", tasks=("prognosis",)),
        Experiment(name="stl-severity", title="STL τ2", tasks=("severity",)),
        Experiment(name="ft", title="FT τ2→τ1", tasks=("prognosis",), parents=("stl-severity",)),
        Experiment(name="ft-severity", title="FT τ1→τ2", tasks=("severity",), parents=("stl-prognosis",)),
        Experiment(name="mdmt", title="MDMT", tasks=("prognosis", "severity"), parents=("stl-prognosis", "stl-severity")),
    )
}


def in_order(names: Iterable[str], known: Mapping[str, Experiment] = EXPERIMENTS) -> list[Experiment]:
    """The named experiments with their parents, parents first. Raises ValueError for an unknown name, or for a circle."""
    ordered: list[Experiment] = []

    def add(name: str, below: tuple[str, ...]) -> None:
        if name in below:
            raise ValueError(f"experiments start from each other in a circle: {' → '.join((*below, name))}")
        if name not in known:
            raise ValueError(f"unknown experiment {name!r}; known: {', '.join(known)}")
        for parent in known[name].parents:
            add(parent, (*below, name))
        if known[name] not in ordered:
            ordered.append(known[name])

    for name in names:
        add(name, ())
    return ordered
