"""GoogLeNet (Szegedy et al., 2015) as in torchvision, without its two auxiliary classifiers."""

from torchvision import models

from training.learning.backbones.backbone import Backbone, from_torchvision

NAMES = ("googlenet",)


def build(name: str, weights: str) -> Backbone:
    return from_torchvision(name, weights, getattr(models, name), head="fc", aux_logits=False, init_weights=True)
