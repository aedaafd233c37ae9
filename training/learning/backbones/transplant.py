"""A backbone started from a sibling's weights: what both have is copied, what only one has is made to do as little as it can."""

import torch
from torch import nn

from training.learning.backbones.backbone import Backbone

OPEN = 4.0  # bias of a squeeze-and-excitation gate: it then lets 98 % through
GATE = ".se.conv_expand."


class NoKin(ValueError):
    """The two backbones share too little."""


def transplant(giver: Backbone, taker: Backbone) -> tuple[int, int]:
    """Fill `taker` in place; returns how many of its tensors were copied, and how many it has. Raises NoKin below a half.

    Tensors go by name and shape. The first convolution and BatchNorm are changed so that the taker sees films normalised in its own
    way as the giver saw them in its, and the statistics make up for another epsilon. Gates that the giver has not are opened.
    """
    given, own = giver.module.state_dict(), dict(taker.module.state_dict())
    common = {name for name in own if name in given and given[name].shape == own[name].shape}
    if 2 * len(common) < len(own):
        raise NoKin(f"only {len(common)} of {len(own)} tensors have a counterpart of the same name and shape")
    for name in common:
        own[name] = given[name].clone()
    for name in own.keys() - given.keys():
        if GATE in name:
            own[name] = torch.full_like(own[name], OPEN) if name.endswith("bias") else torch.zeros_like(own[name])
    _see_alike(giver, taker, own)
    for name, (theirs, ours) in _epsilons(giver.module, taker.module).items():
        if f"{name}.running_var" in common:
            own[f"{name}.running_var"] = own[f"{name}.running_var"] + theirs - ours
    taker.module.load_state_dict(own)
    return len(common), len(own)


def _see_alike(giver: Backbone, taker: Backbone, own: dict[str, torch.Tensor]) -> None:
    """(x − m) / s of the giver is a line of the taker's: its slope goes into the first convolution, its height into the BatchNorm.

    Exact but at the border, where both pad with zeros that mean another grey.
    """
    stem, norm = "conv_stem.weight", "bn1.running_mean"
    if stem not in own:
        raise NoKin("no first convolution of that name: only EfficientNets of timm are known here")
    slope = torch.tensor(taker.std) / torch.tensor(giver.std)
    height = (torch.tensor(taker.mean) - torch.tensor(giver.mean)) / torch.tensor(giver.std)
    kernels = own[stem]
    own[stem] = kernels * slope.view(1, 3, 1, 1)
    own[norm] = own[norm] - (kernels * height.view(1, 3, 1, 1)).sum(dim=(1, 2, 3))


def _epsilons(giver: nn.Module, taker: nn.Module) -> dict[str, tuple[float, float]]:
    """{name of a BatchNorm of both: (giver's epsilon, taker's)}."""
    theirs = {name: module.eps for name, module in giver.named_modules() if isinstance(module, nn.BatchNorm2d)}
    return {
        name: (theirs[name], module.eps)
        for name, module in taker.named_modules()
        if isinstance(module, nn.BatchNorm2d) and name in theirs
    }
