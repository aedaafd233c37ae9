"""A training that is cut off anywhere and goes on is, to the bit, the training that was left alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr.tasks import PROGNOSIS, SEVERITY, Task
from training.data.samples import Samples, assemble
from training.learning import checkpoint
from training.learning.backbones import NAMES
from training.learning.backbones.backbone import average
from training.learning.fitting import Fit, fit, reestimate_batch_norm
from training.learning.network import Network, create
from training.settings import Training

BOTH = (PROGNOSIS, SEVERITY)
QUICK = ("shufflenet_v2_x0_5", "mobilenet_v2", "resnet18")
SETTINGS = Training(batch_size=8, max_epochs=4, patience=2, warmup_epochs=1, hidden=8)
Start = Callable[[str], Network]


class Cut(Exception):
    """Stands for the kill."""


def samples(count: int, name: str, tasks: tuple[Task, ...], size: int = 32) -> Samples:
    films = np.random.default_rng(len(name)).integers(0, 256, (count, size, size), dtype=np.uint8)
    labels = [{"prognosis": i % 2} if i % 3 else {"severity": i % 4} for i in range(count)]
    if len(tasks) == 1:
        labels = [{tasks[0].name: i % len(tasks[0].classes)} for i in range(count)]
    return assemble(list(films), [f"{name}/{i}" for i in range(count)], labels, [task.name for task in tasks])


def alone(backbone: str) -> Network:
    return create(backbone, "scratch", (PROGNOSIS,), 8, 0.3, seed=1)


def fine_tuned(backbone: str) -> Network:
    network = alone(backbone)
    network.backbone.load_state_dict(create(backbone, "scratch", (SEVERITY,), 8, 0.3, seed=2).backbone.state_dict())
    return network


def multi_task(backbone: str) -> Network:
    parents = [create(backbone, "scratch", (PROGNOSIS,), 8, 0.3, seed).backbone.state_dict() for seed in (2, 3)]
    network = create(backbone, "scratch", BOTH, 8, 0.3, seed=1)
    network.backbone.load_state_dict(average(parents, (0.5, 0.5)))
    reestimate_batch_norm(network, samples(8, "bn", BOTH).films, 8)
    return network


STARTS: dict[str, tuple[Start, tuple[Task, ...]]] = {
    "stl": (alone, (PROGNOSIS,)),
    "ft": (fine_tuned, (PROGNOSIS,)),
    "mdmt": (multi_task, BOTH),
}


def train(start: str, backbone: str, folder: Path | None, cut_at: int = -1, settings: Training = SETTINGS) -> Fit:
    """One process's part: from the checkpoint in `folder`, if any, to the end, or to the `cut_at`-th question whether to go on."""
    make, tasks = STARTS[start]
    asked = iter(range(10**6))

    def keep_going() -> None:
        if next(asked) == cut_at:
            raise Cut

    torch.manual_seed(cut_at)  # whatever another process had in its generators
    return fit(
        make(backbone), samples(24, "train", tasks), samples(12, "val", tasks), settings, 5,
        checkpoints=folder, identity="me" if folder else "", keep_going=keep_going,
    )  # fmt: skip


def same(a: Fit, b: Fit) -> bool:
    first, second = a.network.state_dict(), b.network.state_dict()
    return (a.best_epoch, a.history) == (b.best_epoch, b.history) and all(torch.equal(v, second[k]) for k, v in first.items())


def check(start: str, backbone: str, folder: Path, settings: Training = SETTINGS) -> None:
    """Cut at several questions one after another (a resume of a resume), then let it end."""
    undisturbed = train(start, backbone, None, settings=settings)
    for cut_at in (1, 5, 3, 6):  # 3 batches and a checkpoint per epoch: within the first epoch, after one, before a checkpoint …
        with pytest.raises(Cut):
            train(start, backbone, folder, cut_at, settings)
    assert same(train(start, backbone, folder, settings=settings), undisturbed)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("backbone", QUICK)
def test_resuming_equals_never_having_stopped(backbone: str, start: str, tmp_path: Path) -> None:
    check(start, backbone, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("backbone", sorted(set(NAMES) - set(QUICK)))
def test_resuming_equals_never_having_stopped_for_every_backbone(backbone: str, start: str, tmp_path: Path) -> None:
    check(start, backbone, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"task_weighting": "uncertainty"},
        {"task_weighting": "sample-count", "mixing": "balanced"},
        {"schedule": "plateau", "plateau_patience": 1, "label_smoothing": 0.1},
        {"warmup": "linear", "warmup_epochs": 2},
        {"squared_error": ("prognosis",), "channels": "scrambled", "normalisation": "none"},
    ],
    ids=str,
)
def test_resuming_is_exact_for_every_variant(changes: dict[str, object], tmp_path: Path) -> None:
    check("mdmt", QUICK[0], tmp_path, Training(**{**SETTINGS.model_dump(), **changes}))


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_ends_the_same(tmp_path: Path) -> None:
    undisturbed = train("stl", QUICK[0], None)
    with pytest.raises(Cut):
        train("stl", QUICK[0], tmp_path, cut_at=9)
    newest = tmp_path / checkpoint.NEWEST
    assert (tmp_path / checkpoint.PREVIOUS).is_file()
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(bytes(content))
    assert same(train("stl", QUICK[0], tmp_path), undisturbed)


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        train("stl", QUICK[0], tmp_path, cut_at=5)
    data = samples(24, "train", (PROGNOSIS,))
    with pytest.raises(checkpoint.ForeignCheckpoint, match="'me', this is 'you'"):
        fit(alone(QUICK[0]), data, data, SETTINGS, 5, checkpoints=tmp_path, identity="you")
