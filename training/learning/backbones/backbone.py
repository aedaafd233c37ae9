"""What a backbone is: a CNN without its classifier, and the normalisation its weights expect."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from torch import Tensor, nn

from training.learning.backbones.pretrained import Tensors, place

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


class UnknownBackbone(ValueError):
    """No family has a backbone of that name."""


@dataclass(frozen=True)
class Backbone:
    """`module`: (B, 3, H, W) normalised float → (B, features); `origin` says in words where its weights come from.

    `last_map` names the submodule whose output (B, features, h, w) is averaged over its places into the features: what explains an
    answer. Empty: there is none, and networks of this backbone export no evidence. `kept_as` goes before the names of its tensors in a
    file of one's own, where the same backbone has two architectures.
    """

    module: nn.Module
    features: int
    origin: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    last_map: str = ""
    kept_as: str = ""


def from_torchvision(
    name: str,
    constructor: Callable[..., nn.Module],
    head: str,
    last_map: str,
    tensors: Tensors | None,
    dropped: tuple[str, ...] = (),
    **options: object,
) -> Backbone:
    """A torchvision network whose classifier `head` (its last Linear) becomes the identity; `tensors` None: random."""
    module = constructor(weights=None, **options)
    last = module.get_submodule(head)
    if not isinstance(last, nn.Linear):
        raise TypeError(f"{name}: {head} is {type(last).__name__}, not the classifier's Linear layer")
    parent, _, child = head.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
    if tensors is not None:
        place(name, module, tensors, (f"{head}.", *dropped))
    source = "random" if tensors is None else "loaded"
    return Backbone(module, last.in_features, f"{source} (torchvision {metadata.version('torchvision')})", last_map=last_map)


def average(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Σ weight·state over N ≥ 2 state dicts, by name: parameters AND BatchNorm buffers (paper section 3.2: N = 2, weights β, 1−β).

    The authors' code averages parameters only and so leaves the running mean and variance of neither model in place.
    Integer buffers (the count of batches seen) are the rounded average. Weights are in 0..1 and sum to 1.
    """
    if len(states) < 2 or len(states) != len(weights):
        raise ValueError(f"{len(states)} networks and {len(weights)} weights: average at least two, with one weight each")
    if min(weights) < 0 or not math.isclose(math.fsum(weights), 1, abs_tol=1e-9):
        raise ValueError(f"weights {list(weights)} must be 0 or more and sum to 1, not to {math.fsum(weights)}")
    first, *others = states
    for other in others:
        if first.keys() != other.keys():
            odd = sorted(first.keys() ^ other.keys())
            raise ValueError(f"the networks differ in {len(odd)} tensors, e.g. {odd[0]}: average only equal backbones")
    averaged = {}
    for name, a in first.items():
        mixed = weights[0] * a.double()
        for weight, other in zip(weights[1:], others, strict=True):
            b = other[name]
            if a.shape != b.shape:
                raise ValueError(f"{name} has shape {tuple(a.shape)} in one network and {tuple(b.shape)} in another")
            mixed = mixed + weight * b.double()
        averaged[name] = (mixed if a.is_floating_point() else mixed.round()).to(a.dtype)
    return averaged
