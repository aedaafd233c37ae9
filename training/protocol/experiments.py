"""The experiments of the paper (section 3.2) as data: which tasks are learned, and what the backbone starts from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Experiment:
    """`tasks`: what is learned; `parents`: experiments of the same fold whose backbones it starts from.

    No parent: the backbone's own initial weights. One parent: a copy of its backbone. Several: their average. Heads always start anew,
    because they belong to one task in one network.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    parents: tuple[str, ...] = ()


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment("stl-prognosis", "STL τ1", ("prognosis",)),
        Experiment("stl-severity", "STL τ2", ("severity",)),
        Experiment("ft", "FT τ2→τ1", ("prognosis",), ("stl-severity",)),
        Experiment("mdmt", "MDMT", ("prognosis", "severity"), ("stl-prognosis", "stl-severity")),
    )
}


def in_order(names: tuple[str, ...]) -> list[Experiment]:
    """The named experiments with their parents, parents first."""
    ordered: list[Experiment] = []

    def add(name: str) -> None:
        experiment = EXPERIMENTS[name]
        for parent in experiment.parents:
            add(parent)
        if experiment not in ordered:
            ordered.append(experiment)

    for name in names:
        add(name)
    return ordered
