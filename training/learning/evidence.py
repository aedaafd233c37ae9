"""Why a class was answered, at no cost: Grad-CAM (Selvaraju et al., 2017) in closed form, so that the exported graph can hold it.

All 18 backbones end in global average pooling and every head is Linear → ReLU → Linear, so the gradient of a logit with respect to the
last feature map is the same at every place of it: W2[class] · [hidden > 0] · W1, over the number of places. No backward pass is needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.learning.places import Places


class Sight(NamedTuple):
    """What a head is given: `features` (B, F), the mean of what its pieces give. A piece is a map (B, F, h, w) and the places of it that
    count; None: all of them, alike."""

    features: Tensor
    pieces: tuple[tuple[Tensor, Places | None], ...] = ()


def evidence(head: nn.Sequential, sight: Sight) -> Tensor:
    """→ (B, C, h, w): what each place of the film adds to each logit, on the grid of its places, or of its map where all count alike.

    The positive part of a class's map is its Grad-CAM; with `places`, whose gradients differ, it is what each place itself adds (HiResCAM:
    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks", 2020).

    Signed and of all classes, because it is linear in the logits: whoever reads the graph can ask what raised any weighing of them. The
    sum over the places is the logit without the biases. `head` in evaluation: dropout does nothing.
    """
    first, last = (layer for layer in head if isinstance(layer, nn.Linear))
    lets_through = first(sight.features) > 0  # (B, hidden): where the head's ReLU has slope 1
    slopes = (last.weight * lets_through[:, None]) @ first.weight  # (B, C, hidden) @ (hidden, F) → (B, C, F)
    added = [_added(slopes, *piece) for piece in sight.pieces]
    return added[0] if len(added) == 1 else torch.stack(added).mean(0)


def _added(slopes: Tensor, feature_map: Tensor, places: Places | None) -> Tensor:
    batch, channels, height, width = feature_map.shape
    added = (slopes @ feature_map.reshape(batch, channels, height * width)).reshape(batch, -1, height, width)
    return added / (height * width) if places is None else places.spread(added)


@contextmanager
def seen(module: nn.Module) -> Iterator[list[Tensor]]:
    """What `module` gives out inside the `with`, call by call. In-place layers after it show in it: it is what they leave."""
    outputs: list[Tensor] = []
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        hook.remove()
