"""batch → batch, with parameters of its own for every sample.

What is varied is what the authors vary (shift and zoom by 10 %, flip, rotation by 10°, elastic deformation; each applied to about half
of the films), plus contrast and brightness, because centres differ in exposure. All numbers are a hash of (seed, epoch, sample, draw):
they do not depend on batch size, order, workers or where a run was resumed.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.settings import Augmentation

CHUNK = 8  # films warped at a time: whole-batch temporaries cost more in page faults than the warp itself
_CONTROL = 6  # control points a side of the elastic field


def uniforms(seed: int, epoch: int, keys: NDArray[np.uint64], draws: int) -> NDArray[np.float64]:
    """(seed, epoch, sample, draw) → numbers in [0, 1), shape (len(keys), draws): the finaliser of splitmix64 over a counter."""
    mask = (1 << 64) - 1
    base = np.uint64((seed * 0x9E3779B97F4A7C15 + epoch * 0xD1342543DE82EF95) & mask)
    counter = np.arange(1, draws + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = _mix(_mix(keys ^ base)[:, None] + counter[None, :])
    return (x >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def augment(films: Tensor, keys: NDArray[np.uint64], seed: int, epoch: int, settings: Augmentation) -> Tensor:
    """Films (B, 1, S, S) uint8 → (B, 1, S, S) float32 in 0..255, on the device of `films`."""
    draws = uniforms(seed, epoch, keys, 14 + 2 * _CONTROL * _CONTROL)
    u = torch.as_tensor(draws, dtype=torch.float32, device=films.device)
    pieces = [_vary(films[i : i + CHUNK], u[i : i + CHUNK], settings) for i in range(0, len(films), CHUNK)]
    return torch.cat(pieces)


def _vary(films: Tensor, u: Tensor, s: Augmentation) -> Tensor:
    """One chunk: (b, 1, S, S) and its uniforms (b, D)."""

    def amount(decides: int, strength: float, draw: int = 0) -> Tensor:
        applied = u[:, decides] < s.probability
        return torch.where(applied, (2 * u[:, draw or decides + 1] - 1) * strength, 0.0)  # (b,)

    angle = amount(0, s.degrees * torch.pi / 180)
    scale = 1 / (1 + amount(2, s.zoom))
    dx, dy = amount(4, 2 * s.shift), amount(4, 2 * s.shift, draw=6)  # both or neither; grid units: the film spans 2
    mirror = torch.where((u[:, 8] < 0.5) & torch.tensor(s.flip), -1.0, 1.0)
    axis = torch.linspace(-1, 1, films.shape[-1], device=films.device) * (1 - 1 / films.shape[-1])  # pixel centres
    y, x = torch.meshgrid(axis, axis, indexing="ij")  # (S, S)
    cos, sin = (scale * torch.cos(angle))[:, None, None], (scale * torch.sin(angle))[:, None, None]
    gx = mirror[:, None, None] * (cos * x - sin * y) + dx[:, None, None]
    gy = sin * x + cos * y + dy[:, None, None]
    grid = torch.stack([gx, gy], dim=-1)  # (b, S, S, 2)
    if s.elastic:
        grid = grid + _elastic_field(u, films.shape[-1], s)
    warped = functional.grid_sample(films.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    contrast = (1 + amount(10, s.contrast))[:, None, None, None]
    brightness = 255 * amount(12, s.brightness)[:, None, None, None]
    return ((warped - 127.5) * contrast + 127.5 + brightness).clamp_(0, 255)


def _elastic_field(u: Tensor, size: int, s: Augmentation) -> Tensor:
    """Smooth random displacement (b, S, S, 2): a coarse field of control points, bicubically interpolated."""
    control = (2 * u[:, 14:] - 1).view(-1, 2, _CONTROL, _CONTROL) * s.elastic * 2
    applied = (u[:, 9] < s.probability).view(-1, 1, 1, 1)
    field = functional.interpolate(torch.where(applied, control, 0.0), size=(size, size), mode="bicubic", align_corners=True)
    return field.permute(0, 2, 3, 1)
