"""Batches of a training, epoch after epoch: the next one is prepared while the step of this one runs, also across the epoch's end.

What is prepared is a function of (seed, epoch), so it does not matter when, where and by which thread that is done.
"""

import logging
import os
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.film_warp import warp_films
from training.data.rows import FilmRows, fits_in_memory
from training.data.samples import Samples
from training.data.tensor_warp import warp_batch
from training.data.variation import Variation, vary
from training.learning.mixing import Batch, epoch_batches
from training.learning.team import Share, Team
from training.settings import Training

NEXT_PASS = np.uint64(0x9E3779B97F4A7C15)  # odd: a film that comes again within an epoch is augmented as if it were another
DEVICE_SHARE = 0.25  # of a GPU's free memory: a larger split stays on the host
BUFFERS = 2  # one that is computed on, one that is filled
_log = logging.getLogger(__name__)


class Ready(NamedTuple):
    """This process's share of a batch, on the device: films (b, 1, S, S) float32 in 0..255, labels and known (b, T).

    `films_in_all` and `labels_in_all` count the whole batch.
    """

    films: Tensor
    labels: Tensor
    known: Tensor
    share: Share
    films_in_all: int
    labels_in_all: int


class Films(Protocol):
    """Where the films of the training split lie."""

    def varied(self, rows: NDArray[np.int64], variation: Variation, buffer: int) -> Tensor:
        """Films (b, 1, S, S) float32 on the device; they hold until `buffer` is used again."""
        ...


class OnHost:
    """Films and network on the CPU: warped one by one from where they lie into a buffer that is used again."""

    def __init__(self, films: NDArray[np.uint8] | FilmRows, batch: int) -> None:
        self._films = films
        self._buffers = [torch.empty(batch, 1, *films.shape[1:]) for _ in range(BUFFERS)]

    def varied(self, rows: NDArray[np.int64], variation: Variation, buffer: int) -> Tensor:
        out = self._buffers[buffer][: len(rows)]
        warp_films((self._films[row] for row in rows), variation, out[:, 0].numpy())
        return out


class OnDevice:
    """The whole split on the device, uploaded once; gathered and warped there."""

    def __init__(self, films: NDArray[np.uint8] | FilmRows, device: torch.device) -> None:
        self._films = torch.empty(len(films), 1, *films.shape[1:], dtype=torch.uint8, device=device)
        for i in range(0, len(films), 256):
            self._films[i : i + 256] = torch.from_numpy(films[i : i + 256])[:, None].to(device)

    def varied(self, rows: NDArray[np.int64], variation: Variation, buffer: int) -> Tensor:
        return warp_batch(self._films.index_select(0, on_device(self._films.device, rows)), variation)


class FromPinned:
    """A split that does not fit on the GPU: gathered into pinned memory, copied by the GPU's own means, warped there."""

    def __init__(self, films: NDArray[np.uint8] | FilmRows, batch: int, device: torch.device) -> None:
        self._films, self._device = films, device
        self._buffers = [torch.empty(batch, 1, *films.shape[1:], dtype=torch.uint8, pin_memory=True) for _ in range(BUFFERS)]
        self._copied = [torch.cuda.Event() for _ in range(BUFFERS)]

    def varied(self, rows: NDArray[np.int64], variation: Variation, buffer: int) -> Tensor:
        self._copied[buffer].synchronize()  # the copy of two batches ago has read the buffer
        pinned = self._buffers[buffer][: len(rows)]
        for i, row in enumerate(rows):
            pinned[i, 0].numpy()[:] = self._films[row]
        films = pinned.to(self._device, non_blocking=True)
        self._copied[buffer].record()
        return warp_batch(films, variation)


def place(films: NDArray[np.uint8] | FilmRows, batch: int, device: torch.device) -> Films:
    """Put the training films where they are read fastest, and say in the log where that is. Sizes alone decide."""
    size = int(np.prod(films.shape))
    resident = fits_in_memory(size)
    if isinstance(films, FilmRows):
        films.advise(resident)
    where = "resident in host memory" if resident else "streamed from disk, being more than half of this host's memory"
    placed: Films
    if device.type == "cpu":
        placed = OnHost(films, batch)
    elif size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        placed, where = OnDevice(films, device), "on the GPU"
    else:
        placed, where = FromPinned(films, batch, device), f"{where}, copied to the GPU batch by batch"
    _log.info("%d training films, %.0f MiB: %s", len(films), size / 2**20, where)
    return placed


def has_spare_core(device: torch.device) -> bool:
    """Whether preparing ahead can run beside the step: there is a GPU, or a core that torch does not use."""
    return device.type != "cpu" or len(os.sched_getaffinity(0)) > torch.get_num_threads()


class Feed:
    """The batches of one training from epoch `first` (counted from 1) on; a context manager, because it may hold a thread.

    `ahead`: prepare in a thread beside the step. Batches are the same either way. A batch holds until the next one is asked for.
    """

    def __init__(
        self,
        train: Samples,
        settings: Training,
        seed: int,
        device: torch.device,
        team: Team,
        first: int,
        ahead: bool | None = None,
    ) -> None:
        self._train, self._settings, self._seed, self._device, self._team = train, settings, seed, device, team
        self.tasks = train.tasks
        # A last film alone joins the batch before; balanced mixing shows films several times, so that one may be larger than the split.
        largest = settings.batch_size + 1
        self._films = place(train.films, largest, device)
        self._ready: SimpleQueue[tuple[Ready, int] | Exception] = SimpleQueue()
        self._free: SimpleQueue[int | None] = SimpleQueue()
        self._thread: Thread | None = None
        if has_spare_core(device) if ahead is None else ahead:
            for buffer in range(BUFFERS):
                self._free.put(buffer)
            self._thread = Thread(target=self._prepare_ahead, args=(first,), name="feed", daemon=True)
        _log.info("batches are prepared %s", "beside the step" if self._thread else "between the steps: no core is spare")

    def __enter__(self) -> Self:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread:
            self._free.put(None)
            self._thread.join()

    def epoch(self, number: int) -> Iterator[Ready]:
        """The batches of an epoch; epochs are asked for in turn."""
        for batch in self._batches(number):
            if self._thread is None:
                yield self._prepare(batch, number, 0)
                continue
            got = self._ready.get()
            if isinstance(got, Exception):
                raise got
            ready, buffer = got
            yield ready
            self._free.put(buffer)

    def _batches(self, number: int) -> list[Batch]:
        return epoch_batches(self._train, self._settings.batch_size, self._settings.mixing, self._seed, number)

    def _prepare_ahead(self, first: int) -> None:
        try:
            for number in range(first, self._settings.max_epochs + 1):
                for batch in self._batches(number):
                    buffer = self._free.get()
                    if buffer is None:
                        return
                    self._ready.put((self._prepare(batch, number, buffer), buffer))
        except Exception as error:  # noqa: BLE001  raised by the training that waits for the batch
            self._ready.put(error)

    def _prepare(self, batch: Batch, epoch: int, buffer: int) -> Ready:
        train, share = self._train, self._team.share(len(batch.rows))
        rows = batch.rows[share.places]
        keys = train.keys[rows] + batch.passes[share.places] * NEXT_PASS
        variation = vary(keys, self._seed, epoch, self._settings.augmentation)
        films = self._films.varied(rows, variation, buffer)
        labels, known = (on_device(self._device, table) for table in train.labels_of(rows, variation.mirrored))
        return Ready(films, labels, known, share, len(batch.rows), int(train.known[batch.rows].sum()))


def on_device(device: torch.device, array: NDArray[np.generic]) -> Tensor:
    """Array → tensor on the device; to a GPU from pinned memory, so that the copy does not hold up the host."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
