"""ResNet (He et al., 2016) and Wide ResNet (Zagoruyko and Komodakis, 2016) as in torchvision."""

from torchvision import models

from training.learning.backbones.backbone import Backbone, from_torchvision
from training.learning.backbones.pretrained import Tensors

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2")


def build(name: str, tensors: Tensors | None = None) -> Backbone:
    return from_torchvision(name, getattr(models, name), "fc", "layer4", tensors)
