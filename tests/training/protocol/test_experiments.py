"""The experiments of the paper as data."""

import pytest

from cxr.tasks import TASKS
from training.protocol.experiments import EXPERIMENTS, in_order


def test_the_four_experiments_learn_and_start_as_the_paper_says() -> None:
    assert {name: (e.tasks, e.parents) for name, e in EXPERIMENTS.items()} == {
        "stl-prognosis": (("prognosis",), ()),
        "stl-severity": (("severity",), ()),
        "ft": (("prognosis",), ("stl-severity",)),
        "mdmt": (("prognosis", "severity"), ("stl-prognosis", "stl-severity")),
    }


def test_every_task_and_parent_that_is_named_exists() -> None:
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name
        assert set(experiment.tasks) <= set(TASKS)
        assert set(experiment.parents) <= set(EXPERIMENTS) - {name}
        assert len(experiment.parents) <= 2  # an average of three is not written


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
