"""DenseNet (Huang et al., 2017) as in torchvision."""

import re

from torchvision import models

from training.learning.backbones.backbone import Backbone, from_torchvision
from training.learning.backbones.pretrained import Tensors

NAMES = ("densenet121", "densenet161", "densenet169", "densenet201")
# The published files are older than torch's ban of dots in module names: `norm.1` of a dense layer is today's `norm1`.
_OLD_NAME = re.compile(r"(?<=\.)(norm|conv)\.([12])(?=\.)")


def build(name: str, tensors: Tensors | None = None) -> Backbone:
    if tensors is not None:
        tensors = {_OLD_NAME.sub(r"\1\2", key): value for key, value in tensors.items()}
    return from_torchvision(name, getattr(models, name), "classifier", "features", tensors)
