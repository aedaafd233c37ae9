"""ShuffleNet v2 (Ma et al., 2018) as in torchvision."""

from torchvision import models

from training.learning.backbones.backbone import Backbone, from_torchvision
from training.learning.backbones.pretrained import Tensors

NAMES = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0")


def build(name: str, tensors: Tensors | None = None) -> Backbone:
    return from_torchvision(name, getattr(models, name), "fc", "conv5", tensors)
