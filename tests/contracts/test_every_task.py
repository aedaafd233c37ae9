"""A further task is one value: three tasks of three data sets train through the same network, loss and loop."""

import re

import numpy as np
import pytest
import torch

from cxr import tasks as known
from cxr.tasks import AGE, PROGNOSIS, SEVERITY, Task
from tests.training.learning.tiny import PLAIN, tiny_backbone, training
from training.data.samples import Samples, assemble
from training.learning.fitting import evaluate_loss, fit, predict
from training.learning.network import Network

TASKS = (PROGNOSIS, SEVERITY, AGE)
every_task = pytest.mark.parametrize("task", known.TASKS.values(), ids=lambda task: task.name)


@every_task
def test_every_task_has_distinct_classes_whose_names_can_be_parts_of_metric_names(task: Task) -> None:
    assert known.TASKS[task.name] is task
    assert len({name.casefold() for name in task.classes}) == len(task.classes) >= 2
    assert all(re.fullmatch(r"[\w.-]+", name, re.ASCII) for name in (task.name, *task.classes))
    assert all(task.meaning) and task.title
    assert task.positive is None or (len(task.classes) == 2 and task.positive in (0, 1))


@every_task
def test_ranges_of_a_task_are_one_per_class_and_follow_each_other(task: Task) -> None:
    assert len(task.ranges) in (0, len(task.classes))
    assert all(low <= high for low, high in task.ranges)
    assert all(high + 1 == low for (_, high), (low, _) in zip(task.ranges, task.ranges[1:], strict=False))
    assert task.ordinal or not task.ranges


def test_a_third_task_changes_nothing_of_the_two_of_the_paper() -> None:
    assert list(known.TASKS)[:2] == ["prognosis", "severity"]
    assert (PROGNOSIS.classes, SEVERITY.classes) == (("MILD", "SEVERE"), ("0", "1", "2", "3"))


def three_sets(n: int = 20, seed: int = 0) -> Samples:
    """n films per task, each knowing that task only; a film's class is its brightness."""
    rng = np.random.default_rng(seed)
    films, names, labels = [], [], []
    for task in TASKS:
        for i in range(n):
            index = i % len(task.classes)
            bright = 255 * (index + 0.5) / len(task.classes)
            films.append(np.clip(rng.normal(bright, 10, (32, 32)), 0, 255).astype(np.uint8))
            names.append(f"{seed}/{task.name}/{i}")
            labels.append({task.name: index})
    return assemble(films, names, labels, [task.name for task in TASKS])


def three_headed(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(tiny_backbone(), TASKS, hidden=32, dropout=0)


def test_three_tasks_of_three_data_sets_are_learned_together() -> None:
    network, val = three_headed(), three_sets(seed=1)
    settings = training(max_epochs=60, patience=60, batch_size=16, learning_rate=1e-2, dropout=0, augmentation=PLAIN)
    before = evaluate_loss(network, val, settings)
    result = fit(network, three_sets(), val, settings, seed=0)
    after = result.history[result.best_epoch - 1]
    for task in TASKS:
        assert after[f"val_loss_{task.name}"] < before[f"val_loss_{task.name}"] / 2
        assert after[f"val_accuracy_{task.name}"] > 0.8
    assert {name: rows.shape for name, rows in predict(network, val.films).items()} == {
        "prognosis": (60, 2), "severity": (60, 4), "age": (60, 4),
    }  # fmt: skip


def test_films_of_two_tasks_leave_the_head_of_the_third_exactly_as_it_was() -> None:
    network, both = three_headed(), three_sets()
    both = Samples(both.films[:40], both.labels[:40], both.known[:40], both.keys[:40], both.tasks)
    before = {name: value.clone() for name, value in network.heads["age"].state_dict().items()}
    changed = network.heads["severity"][0].weight.detach().clone()
    settings = training(max_epochs=2, weight_decay=0, monitor="prognosis")
    fit(network, both, both, settings, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in network.heads["age"].state_dict().items())
    assert not torch.equal(changed, network.heads["severity"][0].weight)
