"""A training that is cut off anywhere and goes on is, to the bit, the training that was left alone."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr.tasks import PROGNOSIS, SEVERITY, Task
from tests.training.learning.cut import Cut, cutter
from tests.training.learning.tiny import tiny_network, tiny_samples
from training.data.samples import Samples, assemble
from training.learning import checkpoint, fitting
from training.learning.backbones import NAMES
from training.learning.backbones.backbone import average
from training.learning.fitting import Fit, fit, reestimate_batch_norm
from training.learning.network import Network, create
from training.settings import Training

BOTH = (PROGNOSIS, SEVERITY)
SMALL = "shufflenet_v2_x0_5"
SETTINGS = Training(batch_size=8, max_epochs=4, patience=2, warmup_epochs=1, hidden=8)
Start = Callable[[str], Network]


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


CASES = {(backbone, start) for backbone in NAMES for start in STARTS}
QUICK = {(SMALL, start) for start in STARTS}
LONG = {("mobilenet_v2", "mdmt"), ("efficientnet_lite0", "ft"), ("googlenet", "stl")}


@pytest.mark.parametrize(
    ("backbone", "start"), [pytest.param(*case, marks=() if case in QUICK else pytest.mark.long) for case in sorted(QUICK | LONG)]
)
def test_resuming_equals_never_having_stopped(backbone: str, start: str, tmp_path: Path) -> None:
    check(start, backbone, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "start"), sorted(CASES - QUICK - LONG))
def test_resuming_equals_never_having_stopped_for_every_backbone_and_start(backbone: str, start: str, tmp_path: Path) -> None:
    check(start, backbone, tmp_path)


@pytest.mark.long
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
    check("mdmt", SMALL, tmp_path, Training(**{**SETTINGS.model_dump(), **changes}))


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_ends_the_same(tmp_path: Path) -> None:
    undisturbed = train("stl", SMALL, None)
    with pytest.raises(Cut):
        train("stl", SMALL, tmp_path, cut_at=9)
    newest = tmp_path / checkpoint.NEWEST
    assert (tmp_path / checkpoint.PREVIOUS).is_file()
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(bytes(content))
    assert same(train("stl", SMALL, tmp_path), undisturbed)


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        train("stl", SMALL, tmp_path, cut_at=5)
    data = samples(24, "train", (PROGNOSIS,))
    with pytest.raises(checkpoint.ForeignCheckpoint, match="'me', this is 'you'"):
        fit(alone(SMALL), data, data, SETTINGS, 5, checkpoints=tmp_path, identity="you")


# --- on a network of milliseconds: everywhere, everything ---------------------------------------------------------------

EVERYTHING = Training(
    batch_size=4, max_epochs=4, patience=9, warmup_epochs=1, hidden=8, precision="bfloat16", mixing="balanced",
    task_weighting="uncertainty", schedule="plateau", plateau_patience=0, squared_error=("prognosis",), learning_rate=0.05,
)  # fmt: skip


def train_tiny(
    folder: Path,
    keep_going: Callable[[], None] | None = None,
    progress: Callable[[int, dict[str, float]], None] | None = None,
    settings: Training = EVERYTHING,
) -> Fit:
    return fit(
        tiny_network(), tiny_samples(12), tiny_samples(6, 1), settings, 7, progress,
        checkpoints=folder, identity="tiny", keep_going=keep_going,
    )  # fmt: skip


def equal(a: object, b: object) -> bool:
    """Deep equality of what checkpoints are made of."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_cut_at_every_single_batch_and_checkpoint_all_that_is_kept_is_equal_in_the_end(tmp_path: Path) -> None:
    undisturbed = train_tiny(tmp_path / "undisturbed")
    generator, kept = torch.get_rng_state(), checkpoint.load(tmp_path / "undisturbed")
    questions = 4 * 3 + 3  # three batches an epoch, and three checkpoints
    for at in range(questions):
        folder = tmp_path / str(at)
        with pytest.raises(Cut):
            train_tiny(folder, cutter(at))
        torch.manual_seed(at)
        assert same(train_tiny(folder), undisturbed), at
        assert torch.equal(torch.get_rng_state(), generator), at
        assert equal(checkpoint.load(folder), kept), at  # optimiser, schedule, learned weights, best so far …
    train_tiny(tmp_path / "more", cutter(questions))


def test_the_best_epoch_before_the_cut_stays_the_best_and_the_waiting_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hear(losses: list[float]) -> None:
        told = iter(losses)
        monkeypatch.setattr(fitting, "evaluate_loss", lambda *_: dict.fromkeys(("val_loss_severity", "val_loss"), next(told)))

    losses = [0.9, 0.1, 0.5, 0.6, 0.7, 0.01]  # two epochs of waiting and the one that is too many: the last is never reached
    patient = EVERYTHING.model_copy(update={"max_epochs": 6, "patience": 3})
    hear(losses)
    undisturbed = train_tiny(tmp_path / "undisturbed", settings=patient)
    assert (undisturbed.best_epoch, len(undisturbed.history)) == (2, 5)
    for epoch in (3, 4):  # cut in the first batch of it: the best is the checkpoint's own epoch, then an earlier one
        hear(losses)
        with pytest.raises(Cut):
            train_tiny(tmp_path / str(epoch), cutter(4 * (epoch - 1)), settings=patient)
        hear(losses[epoch - 1 :])
        assert same(train_tiny(tmp_path / str(epoch), settings=patient), undisturbed)
        assert equal(checkpoint.load(tmp_path / str(epoch)), checkpoint.load(tmp_path / "undisturbed"))


def test_epochs_told_before_are_not_told_again_but_the_one_cut_off_before_its_checkpoint(tmp_path: Path) -> None:
    told: list[int] = []
    with pytest.raises(Cut):
        train_tiny(tmp_path, cutter(3 + 1 + 3), lambda epoch, _: told.append(epoch))  # before the second checkpoint
    assert told == [1, 2]
    resumed = train_tiny(tmp_path, None, lambda epoch, _: told.append(epoch))
    assert told == [1, 2, 2, 3, 4]
    assert len(resumed.history) == 4


def test_a_disk_that_is_full_stops_a_training_that_goes_on_later_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train_tiny(tmp_path / "undisturbed")
    room = iter([True, False])
    synced = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and not next(room):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)
    with pytest.raises(checkpoint.DiskFull):
        train_tiny(tmp_path / "full")
    monkeypatch.undo()
    assert same(train_tiny(tmp_path / "full"), undisturbed)


def test_checkpoints_without_saying_whose_they_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need an identity"):
        fit(tiny_network(), tiny_samples(), tiny_samples(), SETTINGS, 0, checkpoints=tmp_path)
