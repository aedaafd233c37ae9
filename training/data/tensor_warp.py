"""A variation carried out on whole batches of tensors, for a GPU."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.data.variation import Variation


def warp_batch(films: Tensor, variation: Variation) -> Tensor:
    """Films (B, 1, S, S) uint8 → (B, 1, S, S) float32 in 0..255 on their device; outside of a film is its black."""
    side = films.shape[-1]

    def on_device(numbers: NDArray[np.float64]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(numbers, dtype=np.float32))
        return tensor.pin_memory().to(films.device, non_blocking=True) if films.device.type == "cuda" else tensor

    axis = torch.linspace(-1, 1, side, device=films.device) * (1 - 1 / side)  # pixel centres; the film spans 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")  # (S, S)
    linear, shift = on_device(variation.linear)[..., None, None], on_device(2 * variation.shift)[..., None, None]
    grid = torch.stack([linear[:, i, 0] * x + linear[:, i, 1] * y + shift[:, i] for i in (0, 1)], dim=-1)  # (b, S, S, 2)
    if variation.elastic.any():
        field = functional.interpolate(on_device(2 * variation.control), (side, side), mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)
    contrast, brightness = (on_device(v)[:, None, None, None] for v in (variation.contrast, variation.brightness))
    toned = ((films.float() - 127.5) * contrast + 127.5 + brightness).clamp_(0, 255)
    black = (-127.5 * contrast + 127.5 + brightness).clamp_(0, 255)  # grid_sample knows no other padding than 0
    warped = functional.grid_sample(toned - black, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (warped + black).clamp_(0, 255)  # rounding
