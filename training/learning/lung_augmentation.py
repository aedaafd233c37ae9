"""Other exposures, other patients and dense lungs from the films at hand, for the training of the lung U-Net."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.float64]


def augment(films: Tensor, lungs: Tensor, generators: Sequence[np.random.Generator], odd: float = 0.0) -> tuple[Tensor, Tensor]:
    """Films and lungs (B, 1, S, S) in [0, 1], one generator per film → the same, changed as exposures and patients change.

    Some films get a dense blob inside the lungs that the mask keeps: consolidated lung is lung. A share `odd` of them is shown in one of
    the ODD ways as well.
    """
    size = films.shape[-1]
    drawn = [_draw(rng, lungs[i, 0].numpy(), odd) for i, rng in enumerate(generators)]
    affine, blob, tone = (torch.tensor(np.stack(values), dtype=torch.float32) for values in zip(*drawn, strict=True))
    axis = torch.arange(size, dtype=torch.float32) / size
    x, y, width, height, density = (blob[:, i, None, None, None] for i in range(5))
    shape = torch.exp(-(((axis - x) / width) ** 2) - (((axis[:, None] - y) / height) ** 2))  # (B, 1, S, S)
    films = films + density * shape * (0.95 - films).clamp(min=0)
    grid = F.affine_grid(affine, [len(films), 1, size, size], align_corners=False)
    both = F.grid_sample(torch.cat([films, lungs], 1), grid, align_corners=False)
    films, lungs = both[:, :1], (both[:, 1:] >= 0.5).float()
    gamma, contrast, brightness, noise = (tone[:, i, None, None, None] for i in range(4))
    grain = torch.from_numpy(np.stack([rng.standard_normal((1, size, size), np.float32) for rng in generators]))
    return (films**gamma * contrast + brightness + noise * grain).clamp(0, 1), lungs


def _draw(rng: np.random.Generator, lungs: NDArray[np.float32], odd: float) -> tuple[Numbers, Numbers, Numbers]:
    """One film's luck: affine (2, 3), blob (x, y, width, height as shares of the side, density 0..1), tone (4)."""
    angle = np.deg2rad(rng.normal(0, 5))
    zoom = np.exp(rng.uniform(-0.2, 0.25, 2))  # above 1: the film shrinks, its surroundings are black like collimation
    flip = rng.choice([-1.0, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = np.column_stack([turn * zoom * [flip, 1.0], rng.uniform(-0.12, 0.12, 2)])
    inside = np.flatnonzero(lungs)
    spot = int(rng.choice(inside)) if len(inside) else 0
    side = lungs.shape[-1]
    density = rng.uniform(0.3, 1.0) if rng.random() < 0.4 and len(inside) else 0.0
    blob = np.array([spot % side / side, spot // side / side, *rng.uniform(0.05, 0.2, 2), density])
    tone = np.array([np.exp(rng.normal(0, 0.25)), rng.uniform(0.8, 1.2), rng.uniform(-0.1, 0.1), rng.uniform(0, 0.03)])
    if odd and rng.random() < odd:  # asked last: without odd films all else is drawn as it always was
        affine, tone = ODD[rng.integers(len(ODD))](rng, affine, tone)
    return affine, blob, tone


def _inverted(rng: np.random.Generator, affine: Numbers, tone: Numbers) -> tuple[Numbers, Numbers]:
    """The negative, collimation white."""
    gamma, contrast, brightness, noise = tone
    return affine, np.array([gamma, -contrast, 1 - brightness, noise])


def _turned(rng: np.random.Generator, affine: Numbers, tone: Numbers) -> tuple[Numbers, Numbers]:
    """Lying on a side, or upside down."""
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    return np.linalg.matrix_power(quarter, int(rng.integers(1, 4))) @ affine, tone


def _cropped(rng: np.random.Generator, affine: Numbers, tone: Numbers) -> tuple[Numbers, Numbers]:
    """Cut so that parts of the lungs may be missing."""
    share = rng.uniform(0.55, 0.85)
    offset = rng.uniform(-(1 - share), 1 - share, 2)
    return np.column_stack([affine[:, :2] * share, offset]), tone


def _bedside(rng: np.random.Generator, affine: Numbers, tone: Numbers) -> tuple[Numbers, Numbers]:
    """A patient in bed: much around the chest, on a tilted cassette, flat and grainy."""
    angle = np.deg2rad(rng.normal(0, 8))
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wide = np.column_stack([tilt @ affine[:, :2] * rng.uniform(1.1, 1.5), affine[:, 2]])
    gamma, contrast, brightness, _ = tone
    return wide, np.array(
        [gamma, contrast * rng.uniform(0.5, 0.8), brightness + rng.uniform(0.05, 0.25), rng.uniform(0.02, 0.05)]
    )


# Twice what is met most: cut films and films taken in bed.
ODD = (_inverted, _turned, _cropped, _cropped, _bedside, _bedside)
