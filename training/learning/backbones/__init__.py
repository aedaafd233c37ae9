"""The shared feature extractors by name, one file per family. A family module has `NAMES` and `build(name, weights)`."""

from training.learning.backbones import densenet, efficientnet, googlenet, mobilenet, resnet, shufflenet
from training.learning.backbones.backbone import Backbone, UnknownBackbone

FAMILIES = (densenet, efficientnet, googlenet, mobilenet, resnet, shufflenet)
NAMES: tuple[str, ...] = tuple(name for family in FAMILIES for name in family.NAMES)


def build(name: str, weights: str = "scratch") -> Backbone:
    """Backbone by name. `weights`: "imagenet" (refused when there are none on this machine) or "scratch" (seed torch first)."""
    for family in FAMILIES:
        if name in family.NAMES:
            return family.build(name, weights)
    raise UnknownBackbone(f"unknown backbone {name!r}; known: {', '.join(NAMES)}")
