"""What a backbone is: a CNN without its classifier, and the normalisation its weights expect."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import torch
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class UnknownBackbone(ValueError):
    """No family has a backbone of that name."""


class WeightsNotFound(FileNotFoundError):
    """Pretrained weights were asked for and are not on this machine. Never answered with random ones instead."""


@dataclass(frozen=True)
class Backbone:
    """`module`: (B, 3, H, W) normalised float → (B, features); `origin` says in words where its weights come from."""

    module: nn.Module
    features: int
    origin: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def only_from_scratch(name: str, weights: str) -> None:
    """Refuse weights that this machine does not have."""
    if weights != "scratch":
        raise WeightsNotFound(
            f"no {weights!r} weights for backbone {name!r} on this machine; use weights='scratch' in the recipe, "
            "or efficientnet_lite0, whose ImageNet weights come with the installed packages"
        )


def from_torchvision(name: str, weights: str, constructor: Callable[..., nn.Module], head: str, **options: object) -> Backbone:
    """A torchvision network whose classifier `head` (its last Linear) becomes the identity."""
    only_from_scratch(name, weights)
    module = constructor(weights=None, **options)
    last = module.get_submodule(head)
    if not isinstance(last, nn.Linear):
        raise TypeError(f"{name}: {head} is {type(last).__name__}, not the classifier's Linear layer")
    parent, _, child = head.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
    return Backbone(module, last.in_features, f"random (torchvision {metadata.version('torchvision')})")


def average(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], beta: float = 0.5) -> dict[str, torch.Tensor]:
    """β·first + (1−β)·second of two state dicts, by name: parameters AND BatchNorm buffers (paper section 3.2).

    The authors' code averages parameters only and so leaves the running mean and variance of neither model in place.
    Integer buffers (the count of batches seen) are the rounded average.
    """
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise ValueError(f"the two networks differ in {len(odd)} tensors, e.g. {odd[0]}: average only equal backbones")
    averaged = {}
    for name, a in first.items():
        b = second[name]
        if a.shape != b.shape:
            raise ValueError(f"{name} has shape {tuple(a.shape)} in one network and {tuple(b.shape)} in the other")
        mixed = beta * a.double() + (1 - beta) * b.double()
        averaged[name] = (mixed if a.is_floating_point() else mixed.round()).to(a.dtype)
    return averaged
