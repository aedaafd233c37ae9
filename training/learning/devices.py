"""How a training computes: memory layout, precision, and what is switched on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch

from training.settings import Training


class NotHere(ValueError):
    """The settings ask for something that the device does not have."""


class Way(NamedTuple):
    """Layout of the network's tensors and precision of its forward pass in training."""

    layout: Literal["channels_last", "contiguous"]
    precision: Literal["float32", "bfloat16"]

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format

    def __str__(self) -> str:
        return f"{self.layout} {self.precision}"


def way_of(settings: Training) -> Way:
    """The way that `settings` names. ValueError for "auto", which `calibration` has to measure first."""
    if settings.precision == "auto":
        raise ValueError("precision 'auto' names no way to compute: pass the one that was measured (calibration.way_here)")
    return Way("channels_last", settings.precision)


def must_run_on(device: str, settings: Training) -> None:
    """Raise NotHere when `device` is a GPU and there is none, or is none and the settings ask for what only a GPU has."""
    if torch.device(device).type == "cuda":
        if not torch.cuda.is_available():
            raise NotHere(f"device {device!r} and no GPU is visible here: set the recipe's device to 'cpu', or give it one")
        return
    for name in ("compile", "tf32"):
        if getattr(settings, name):
            raise NotHere(
                f"training.{name} is on and the device is {device!r}: switch it off, or set the recipe's device to 'cuda'"
            )


@contextmanager
def switched(settings: Training) -> Iterator[None]:
    """Switches of torch as the settings want them, and as they were afterwards. Without a GPU they change nothing."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (products.allow_tf32, convolutions.allow_tf32, torch.are_deterministic_algorithms_enabled())
    products.allow_tf32 = convolutions.allow_tf32 = settings.tf32
    torch.use_deterministic_algorithms(settings.deterministic)
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before[:2]
        torch.use_deterministic_algorithms(before[2])
