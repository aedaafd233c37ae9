"""A network, films and settings so small that a loop over them takes milliseconds."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxr.tasks import PROGNOSIS, SEVERITY
from training.data.samples import Samples, assemble
from training.learning.backbones.backbone import Backbone
from training.learning.network import Network
from training.settings import Augmentation, Training

BOTH = ("prognosis", "severity")
PLAIN = Augmentation(probability=0, flip=False)


def noise(n: int, seed: int = 0, size: int = 32) -> NDArray[np.uint8]:
    """Films (n, size, size) of white noise."""
    return np.random.default_rng(seed).integers(0, 256, (n, size, size), dtype=np.uint8)


def tiny_backbone() -> Backbone:
    """Convolution, BatchNorm, eight features: all that the loop has to deal with, in a millisecond."""
    layers = (nn.Conv2d(3, 8, 4, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(nn.Sequential(*layers), 8, "random")


def tiny_network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network(tiny_backbone(), (PROGNOSIS, SEVERITY), hidden=8)


def tiny_samples(n: int = 12, seed: int = 0, tasks: Sequence[str] = BOTH) -> Samples:
    """Odd films know the prognosis, even films the severity."""
    rng = np.random.default_rng(seed)
    labels = [{"prognosis": int(rng.integers(2))} if i % 2 else {"severity": int(rng.integers(4))} for i in range(n)]
    return assemble(list(noise(n, seed)), [f"{seed}/{i}" for i in range(n)], labels, tasks)


def training(**changes: object) -> Training:
    return Training(**{"batch_size": 4, "max_epochs": 3, "patience": 9, "warmup_epochs": 0, **changes})


def weights(network: Network) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())
