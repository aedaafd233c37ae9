"""DenseNet (Huang et al., 2017) as in torchvision."""

from torchvision import models

from training.learning.backbones.backbone import Backbone, from_torchvision

NAMES = ("densenet121", "densenet161", "densenet169", "densenet201")


def build(name: str, weights: str) -> Backbone:
    return from_torchvision(name, weights, getattr(models, name), head="classifier")
