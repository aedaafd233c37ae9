"""batch → batch, with parameters of its own for every sample: see `variation` for what they are, and the two warps that apply them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.film_warp import warp_films
from training.data.tensor_warp import warp_batch
from training.data.variation import vary
from training.settings import Augmentation


def augment(films: Tensor, keys: NDArray[np.uint64], seed: int, epoch: int, settings: Augmentation) -> Tensor:
    """Films (B, 1, S, S) uint8 → (B, 1, S, S) float32 in 0..255, on the device of `films`.

    On a CPU film by film, elsewhere as a batch: grey levels of the two differ by rounding only.
    """
    variation = vary(keys, seed, epoch, settings)
    if films.device.type != "cpu":
        return warp_batch(films, variation)
    out = torch.empty(films.shape, dtype=torch.float32)
    warp_films(films[:, 0].numpy(), variation, out[:, 0].numpy())
    return out
