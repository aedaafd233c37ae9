"""The experiments of the paper as data."""

import pytest

from cxr.tasks import TASKS
from training.protocol.experiments import EXPERIMENTS, Experiment, in_order


def test_the_five_experiments_learn_and_start_as_the_paper_says() -> None:
    assert {name: (e.tasks, e.parents) for name, e in EXPERIMENTS.items()} == {
        "stl-prognosis": (("prognosis",), ()),
        "stl-severity": (("severity",), ()),
        "ft": (("prognosis",), ("stl-severity",)),
        "ft-severity": (("severity",), ("stl-prognosis",)),
        "mdmt": (("prognosis", "severity"), ("stl-prognosis", "stl-severity")),
    }


def test_every_task_and_parent_that_is_named_exists() -> None:
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name
        assert set(experiment.tasks) <= set(TASKS)
        assert set(experiment.parents) <= set(EXPERIMENTS) - {name}


@pytest.mark.parametrize(
    ("asked", "ordered"),
    [
        (("mdmt",), ["stl-prognosis", "stl-severity", "mdmt"]),
        (("ft",), ["stl-severity", "ft"]),
        (("mdmt", "ft", "stl-severity"), ["stl-prognosis", "stl-severity", "mdmt", "ft"]),
        (("stl-severity", "stl-severity"), ["stl-severity"]),
    ],
)
def test_parents_are_added_once_and_come_first(asked: tuple[str, ...], ordered: list[str]) -> None:
    assert [experiment.name for experiment in in_order(asked)] == ordered


def test_experiments_that_start_from_each_other_or_do_not_exist_are_refused() -> None:
    circle = {n: Experiment(name=n, title=n, tasks=("severity",), parents=(p,)) for n, p in (("a", "b"), ("b", "a"))}
    with pytest.raises(ValueError, match="in a circle: a → b → a"):
        in_order(("a",), circle)
    with pytest.raises(ValueError, match="unknown experiment 'mtl'; known: stl-prognosis"):
        in_order(("mtl",))
