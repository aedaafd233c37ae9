"""MobileNet v2 (Sandler et al., 2018) as in torchvision; the dropout in front of its classifier stays, as in the authors' code."""

from torchvision import models

from training.learning.backbones.backbone import Backbone, from_torchvision

NAMES = ("mobilenet_v2",)


def build(name: str, weights: str) -> Backbone:
    return from_torchvision(name, weights, getattr(models, name), head="classifier.1")
