"""Contrastive pre-training (SimCLR, Chen et al. 2020): two variations of a film are each other's only likeness in a batch.

No label is looked at. Everything random is a function of (seed, epoch, film), as in supervised training.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from training.data.film_warp import warp_films
from training.data.rows import FilmRows
from training.data.variation import Variation, vary
from training.learning.mixing import cut
from training.settings import Augmentation

STRONG = Augmentation(
    probability=0.8, degrees=15, shift=0.1, zoom=0.25, elastic=0.0, contrast=0.4, brightness=0.15, flip=True
)  # fmt: skip


class Contrast(BaseModel):
    """How it is trained: `batch` films (so 2·batch pictures) a step, cosine learning rate from `learning_rate` to zero."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(30, ge=1)
    batch: int = Field(48, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    temperature: float = Field(0.2, gt=0)
    width: int = Field(128, ge=8)
    seed: int = Field(0, ge=0)


class Projected(nn.Module):
    """A backbone with its normalisation and the two layers that are thrown away afterwards: (B, 1, S, S) 0..255 → (B, width)."""

    def __init__(self, module: nn.Module, features: int, mean: Tensor, std: Tensor, width: int) -> None:
        super().__init__()
        self.backbone = module
        self.projection = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, width))
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, films: Tensor) -> Tensor:
        found: Tensor = self.projection(self.backbone(films * self.scale + self.shift))
        return found


def likeness_loss(found: Tensor, temperature: float) -> Tensor:
    """(2·B, width), where rows i and i + B are of one film → mean cross-entropy of picking the likeness among all others."""
    unit = functional.normalize(found, dim=1)
    alike = unit @ unit.T / temperature
    alike.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(found)).roll(len(found) // 2)
    return functional.cross_entropy(alike, partner)


def learn_likeness(
    network: Projected,
    films: NDArray[np.uint8] | FilmRows,
    keys: NDArray[np.uint64],
    settings: Contrast,
    heard: Callable[[int, float], None],
) -> None:
    """Train in place on films (N, S, S); `keys` (N,) name them for their variations; `heard` gets (epoch from 1, mean loss)."""
    torch.manual_seed(settings.seed)
    parameters = list(network.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-4)
    network.to(memory_format=torch.channels_last)
    network.train()
    for epoch in range(1, settings.epochs + 1):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + np.cos(np.pi * (epoch - 1) / settings.epochs))
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(films))
        losses = []
        for rows in cut(order, settings.batch):
            found = network(torch.cat([_varied(films, rows, keys, settings.seed, 2 * epoch + view) for view in (0, 1)]))
            loss = likeness_loss(found, settings.temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        heard(epoch, float(np.mean(losses)))


def _varied(
    films: NDArray[np.uint8] | FilmRows, rows: NDArray[np.int64], keys: NDArray[np.uint64], seed: int, draw: int
) -> Tensor:
    variation: Variation = vary(keys[rows], seed, draw, STRONG)
    out = torch.empty(len(rows), 1, *films.shape[1:])
    warp_films((films[int(row)] for row in rows), variation, out[:, 0].numpy())
    return out.to(memory_format=torch.channels_last)
