"""The shared feature extractors by name, one file per family. A family module has `NAMES` and `build(name, tensors)`."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

from training import imagenet, own_weights
from training.imagenet import WeightsNotFound, WeightsRefused
from training.learning.backbones import densenet, efficientnet, googlenet, mobilenet, resnet, shufflenet
from training.learning.backbones.backbone import Backbone, UnknownBackbone
from training.learning.backbones.pretrained import read

__all__ = ["FAMILIES", "NAMES", "Backbone", "UnknownBackbone", "WeightsNotFound", "WeightsRefused", "build", "family_of"]
FAMILIES = (densenet, efficientnet, googlenet, mobilenet, resnet, shufflenet)
NAMES: tuple[str, ...] = tuple(name for family in FAMILIES for name in family.NAMES)


def family_of(name: str) -> ModuleType:
    for family in FAMILIES:
        if name in family.NAMES:
            return family
    raise UnknownBackbone(f"unknown backbone {name!r}; known: {', '.join(NAMES)}")


def build(name: str, weights: str = "scratch", folder: Path | None = None) -> Backbone:
    """Backbone by name, and where it starts: "scratch" (seed torch first), "imagenet", or a set of weights of one's own.

    Weights are read from `folder` (default: `training.imagenet.folder()`). Raises WeightsNotFound when they are not there,
    WeightsRefused when the file is damaged or does not fit; random numbers never stand in for them.
    """
    family = family_of(name)
    if weights == "scratch":
        return family.build(name)
    folder = folder or imagenet.folder()
    if weights != "imagenet":
        origin = own_weights.note(weights, name, folder).origin
        return replace(family.build(name, read(own_weights.place(weights, name, folder))), origin=origin)
    origin = imagenet.origin(name, folder)  # first, because it refuses a file whose digest is wrong
    return replace(family.build(name, read(imagenet.find(name, folder))), origin=origin)
