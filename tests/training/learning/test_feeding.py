"""Batches are the same whoever prepares them, when and where."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.learning.tiny import same, tiny_network, tiny_samples, training, weights
from training.data.samples import Samples
from training.learning import feeding
from training.learning.feeding import Feed, FromPinned, OnDevice, OnHost
from training.learning.fitting import fit
from training.learning.team import ALONE
from training.settings import Training

CPU = torch.device("cpu")


def feed(train: Samples, settings: Training, ahead: bool, first: int = 1) -> Feed:
    return Feed(train, settings, 3, CPU, ALONE, first, ahead=ahead)


def everything(ahead: bool, first: int = 1, **changes: object) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Copies of all batches of epochs `first` to 3."""
    with feed(tiny_samples(11), training(**changes), ahead, first) as batches:
        for epoch in range(first, 4):
            for ready in batches.epoch(epoch):
                yield ready.films.clone(), ready.labels, ready.known


@pytest.mark.parametrize("mixing", ["shuffled", "balanced"])
def test_batches_prepared_ahead_are_those_prepared_between_the_steps(mixing: str) -> None:
    pairs = zip(everything(True, mixing=mixing), everything(False, mixing=mixing), strict=True)
    assert sum(all(torch.equal(a, b) for a, b in zip(one, other, strict=True)) for one, other in pairs) >= 9


@pytest.mark.parametrize("ahead", [False, True])
def test_balanced_mixing_may_have_batches_larger_than_the_split(ahead: bool) -> None:
    samples = tiny_samples(11)
    with feed(samples, training(mixing="balanced", batch_size=128), ahead) as batches:
        (ready,) = batches.epoch(1)
    assert len(ready.films) > len(samples)


def test_an_epoch_asked_for_first_is_that_of_a_training_that_came_there() -> None:
    whole, later = list(everything(False)), list(everything(True, first=2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(whole[-len(later) :], later, strict=True))


def test_the_next_epoch_is_prepared_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, real = threading.Event(), feeding.epoch_batches

    def noted(samples: Samples, size: int, mixing: str, seed: int, epoch: int) -> object:
        if epoch == 2 and threading.current_thread().name == "feed":
            begun.set()
        return real(samples, size, mixing, seed, epoch)

    monkeypatch.setattr(feeding, "epoch_batches", noted)
    with feed(tiny_samples(8), training(), ahead=True) as batches:
        for _ in batches.epoch(1):
            pass
        assert begun.wait(30)


def test_the_thread_ends_with_the_training_also_when_that_was_stopped_midway() -> None:
    stops = iter([None, None, KeyError("stopped")])

    def keep_going() -> None:
        if error := next(stops):
            raise error

    with pytest.raises(KeyError, match="stopped"):
        fit(tiny_network(), tiny_samples(), tiny_samples(6), training(), 0, keep_going=keep_going)
    assert not any(thread.name in ("feed", "checkpoint") for thread in threading.enumerate())


def test_an_error_in_the_thread_is_raised_by_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError("the store is gone")

    monkeypatch.setattr(feeding, "vary", fails)
    with feed(tiny_samples(8), training(), ahead=True) as batches, pytest.raises(OSError, match="the store is gone"):
        list(batches.epoch(1))


def test_trainings_fed_in_either_way_have_the_same_weights_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for spare in (True, False):
        monkeypatch.setattr(feeding, "has_spare_core", lambda _, spare=spare: spare)
        network = tiny_network()
        fit(network, tiny_samples(13), tiny_samples(6, seed=1), training(), 5)
        found.append(weights(network))
    assert same(*found)


def test_films_on_a_device_are_gathered_there_and_are_those_of_the_host_up_to_rounding() -> None:
    train = tiny_samples(13)
    rows = np.array([4, 0, 12, 4])
    variation = feeding.vary(train.keys[rows], 0, 1, training().augmentation)
    here, there = OnHost(train.films, 4), OnDevice(train.films, CPU)
    torch.testing.assert_close(here.varied(rows, variation, 0), there.varied(rows, variation, 0), atol=0.1, rtol=0)


def test_the_log_says_where_the_films_are_and_who_prepares_batches(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    feed(tiny_samples(8), training(), ahead=False)
    assert "8 training films, 0 MiB: resident in host memory" in caplog.text and "between the steps" in caplog.text
    monkeypatch.setattr(feeding, "fits_in_memory", lambda _: False)
    feed(tiny_samples(8), training(), ahead=True)
    assert "streamed from disk" in caplog.text and "beside the step" in caplog.text


def test_a_streamed_split_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resident = [films for films, _, _ in everything(False)]
    monkeypatch.setattr(feeding, "fits_in_memory", lambda _: False)
    assert all(torch.equal(a, b[0]) for a, b in zip(resident, everything(False), strict=True))


class Copied:
    """A GPU's event, without a GPU: writes down what the pinned buffers hold when it is waited for and when it is recorded."""

    def __init__(self, happened: list[tuple[str, list[int]]], buffers: list[Tensor]) -> None:
        self.happened, self.buffers = happened, buffers

    def synchronize(self) -> None:
        self._note("wait")

    def record(self) -> None:
        self._note("copied")

    def _note(self, what: str) -> None:
        self.happened.append((what, [int(buffer[0, 0, 0, 0]) for buffer in self.buffers]))


def test_a_pinned_buffer_is_filled_only_when_its_last_copy_is_over_and_marked_when_the_next_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    films = np.repeat(np.arange(1, 5, dtype=np.uint8), 16 * 16).reshape(4, 16, 16)  # film i is i + 1 everywhere
    buffers: list[Tensor] = []
    happened: list[tuple[str, list[int]]] = []

    def pinned(*shape: int, dtype: torch.dtype, pin_memory: bool) -> Tensor:
        assert pin_memory
        buffers.append(torch.zeros(shape, dtype=dtype))
        return buffers[-1]

    with monkeypatch.context() as inner:
        inner.setattr(torch, "empty", pinned)
        inner.setattr(torch.cuda, "Event", lambda: Copied(happened, buffers))
        placed = FromPinned(films, 2, CPU)
    there = OnDevice(films, CPU)
    for batch, row in enumerate((0, 1, 2)):
        rows = np.array([row])
        variation = feeding.vary(rows.astype(np.uint64), 0, 1, training().augmentation)
        assert torch.equal(placed.varied(rows, variation, batch % 2), there.varied(rows, variation, 0))
    assert happened == [
        ("wait", [0, 0]), ("copied", [1, 0]), ("wait", [1, 0]), ("copied", [1, 2]), ("wait", [1, 2]), ("copied", [3, 2]),
    ]  # fmt: skip
