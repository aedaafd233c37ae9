"""GoogLeNet (Szegedy et al., 2015) as in torchvision, without its two auxiliary classifiers.

Its published weights expect films in −1..1. torchvision gets there in two steps: it normalises as for every network and undoes that
inside (`transform_input`). Here the network normalises once, by mean and deviation 0.5, which is the same map.
"""

from dataclasses import replace

from torchvision import models

from training.learning.backbones.backbone import HALF, Backbone, from_torchvision
from training.learning.backbones.pretrained import Tensors

NAMES = ("googlenet",)


def build(name: str, tensors: Tensors | None = None) -> Backbone:
    plain = {"aux_logits": False, "transform_input": False, "init_weights": tensors is None}
    backbone = from_torchvision(name, getattr(models, name), "fc", "inception5b", tensors, dropped=("aux1.", "aux2."), **plain)
    return backbone if tensors is None else replace(backbone, mean=HALF, std=HALF)
