"""MobileNet v2 (Sandler et al., 2018) as in torchvision; the dropout in front of its classifier stays, as in the authors' code."""

from torchvision import models

from training.learning.backbones.backbone import Backbone, from_torchvision
from training.learning.backbones.pretrained import Tensors

NAMES = ("mobilenet_v2",)


def build(name: str, tensors: Tensors | None = None) -> Backbone:
    return from_torchvision(name, getattr(models, name), "classifier.1", "features", tensors)
