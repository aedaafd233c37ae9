"""What every backbone keeps to: it builds, learns, has the feature size of its family, averages, is saved and loaded, starts from the
ImageNet weights it is given, and never pretends to be pretrained. What is exported of it: `test_every_graph`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training import imagenet
from training.imagenet import WeightsNotFound, WeightsRefused
from training.learning.backbones import FAMILIES, NAMES, build, check, family_of
from training.learning.backbones.backbone import HALF, IMAGENET_MEAN, IMAGENET_STD, UnknownBackbone, average
from training.protocol.recipes import EIGHTEEN

# The 18 of the paper, then others: size of the features, millions of parameters without the head.
TABLE = {
    "densenet121": (1024, 6.95),
    "densenet161": (2208, 26.47),
    "densenet169": (1664, 12.48),
    "densenet201": (1920, 18.09),
    "efficientnet_b0": (1280, 4.01),
    "efficientnet_b1_pruned": (1280, 5.05),
    "efficientnet_es": (1280, 4.16),
    "efficientnet_es_pruned": (1280, 4.16),
    "efficientnet_lite0": (1280, 3.37),
    "googlenet": (1024, 5.60),
    "mobilenet_v2": (1280, 2.22),
    "resnet18": (512, 11.18),
    "resnet34": (512, 21.28),
    "resnet50": (2048, 23.51),
    "resnet101": (2048, 42.50),
    "wide_resnet50_2": (2048, 66.83),
    "shufflenet_v2_x0_5": (1024, 0.34),
    "shufflenet_v2_x1_0": (1024, 1.25),
}
PRETRAINED = "efficientnet_lite0"
HEADS = {"densenet": "classifier", "efficientnet": "classifier", "mobilenet": "classifier.1"}  # the others: fc
# The smallest of every family; the others take up to seven seconds a test.
QUICK = {"densenet121", "efficientnet_lite0", "googlenet", "mobilenet_v2", "resnet18", "shufflenet_v2_x0_5"}
every_backbone = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in NAMES]
)


def published_like(name: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Tensors of a backbone that are not those of a new one, by today's names; and as a publisher's file lists them."""
    torch.manual_seed(1)
    own = {key: value.clone() for key, value in build(name).module.state_dict().items()}
    for key, value in own.items():
        if key.endswith(("running_mean", "running_var")):
            value += 0.25
    head = next((head for family, head in HEADS.items() if name.startswith(family)), "fc")
    features = TABLE[name][0]
    listed = {key: value for key, value in own.items() if not key.endswith("num_batches_tracked")}
    if name.startswith("densenet"):
        listed = {
            key if "denselayer" not in key else key.replace(".norm", ".norm.").replace(".conv", ".conv."): value
            for key, value in listed.items()
        }
    if name == "googlenet":
        listed |= {"aux1.fc2.weight": torch.zeros(1000, 1024), "aux2.conv.conv.weight": torch.zeros(128, 528, 1, 1)}
    if name == "wide_resnet50_2":
        own = {key: value.half().to(value.dtype) for key, value in own.items()}
        listed = {key: value.half() for key, value in listed.items()}
    return own, listed | {f"{head}.weight": torch.zeros(1000, features), f"{head}.bias": torch.zeros(1000)}


def test_the_eighteen_of_the_paper_are_there_and_every_backbone_is_in_one_family_and_has_its_line_here() -> None:
    assert set(EIGHTEEN) <= set(NAMES) and len(EIGHTEEN) == len(set(EIGHTEEN)) == 18
    assert len(NAMES) == len(set(NAMES)) and len(FAMILIES) == len(set(FAMILIES))
    assert set(NAMES) == set(TABLE), "TABLE has a line for each of NAMES and no other"


@pytest.mark.parametrize("name", NAMES)
def test_it_maps_films_to_features_and_every_weight_of_it_gets_gradient(name: str) -> None:
    torch.manual_seed(0)
    backbone = build(name)
    features = backbone.module(torch.randn(2, 3, 64, 64))
    assert tuple(features.shape) == (2, backbone.features)
    millions = sum(p.numel() for p in backbone.module.parameters()) / 1e6
    assert (backbone.features, round(millions, 2)) == TABLE[name]
    assert backbone.origin.startswith("random (")
    features.square().sum().backward()
    without = [n for n, p in backbone.module.named_parameters() if p.grad is None]
    assert not without


@every_backbone
def test_two_of_them_average_parameters_and_buffers_and_the_average_loads(name: str) -> None:
    module = build(name).module
    first = {key: value.clone() for key, value in module.state_dict().items()}
    second = {key: value * 3 for key, value in first.items()} | {
        key: value + 4 for key, value in first.items() if key.endswith("num_batches_tracked")
    }
    module.load_state_dict(average((first, second), (0.5, 0.5)))
    assert any(key.endswith("running_var") for key in first)
    for key, value in module.state_dict().items():
        assert torch.equal(value, first[key] + 2 if key.endswith("num_batches_tracked") else first[key] * 2), key


@every_backbone
def test_it_is_saved_and_loaded_to_the_bit(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = build(name).module
    films = torch.randn(2, 3, 64, 64)
    first(films)  # statistics and counts that are not those of a new network
    save_file(first.state_dict(), tmp_path / "weights.safetensors")
    second = build(name).module
    second.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.inference_mode():
        assert torch.equal(first.eval()(films), second.eval()(films))


@every_backbone
def test_a_file_like_the_published_one_is_loaded_into_its_places(name: str, tmp_path: Path) -> None:
    own, listed = published_like(name)
    part, target = tmp_path / "part.pth", tmp_path / f"{name}.pth"
    torch.save(listed, part, _use_new_zipfile_serialization=not name.startswith("densenet"))  # theirs are of the old format
    assert check.main([name, str(part)]) == 0
    digest = imagenet.install(name, part, target)
    backbone = build(name, "imagenet", tmp_path)
    for key, value in backbone.module.state_dict().items():
        assert torch.equal(value, own[key]), key
    assert backbone.origin == f"imported file {name}.pth (SHA-256 {digest[:8]}), not the published {imagenet.entry(name).file}"
    assert backbone.features == TABLE[name][0]
    half = name in ("googlenet", "efficientnet_b1_pruned")
    assert (backbone.mean, backbone.std) == ((HALF, HALF) if half else (IMAGENET_MEAN, IMAGENET_STD))
    assert tuple(backbone.module.eval()(torch.zeros(1, 3, 64, 64)).shape) == (1, backbone.features)


@pytest.mark.parametrize("name", [name for name in NAMES if name != PRETRAINED])
def test_pretrained_weights_that_are_not_here_are_refused_and_never_replaced_by_random_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFound, match=rf"`mdmt weights fetch {name}`.*`mdmt weights import {name} FILE`.*scratch"):
        build(name, "imagenet", tmp_path)


@pytest.mark.parametrize("name", [PRETRAINED, "resnet18"])
def test_unknown_weights_are_refused(name: str) -> None:
    with pytest.raises(WeightsNotFound, match=r"'chexpert'.*'scratch', 'imagenet'"):
        build(name, "chexpert")


def test_an_unknown_backbone_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownBackbone, match=r"unknown backbone 'resnet19'; known: densenet121, .*shufflenet_v2_x1_0"):
        build("resnet19")


def test_the_packaged_weights_are_the_tensors_in_the_places_of_their_names(tmp_path: Path) -> None:
    packaged = imagenet.packaged(PRETRAINED)
    assert packaged is not None
    backbone = build(PRETRAINED, "imagenet", tmp_path)
    own, stored = backbone.module.state_dict(), torch.load(packaged, map_location="cpu", weights_only=True)
    places = {
        "conv_stem.weight": "_conv_stem.weight",
        "bn1.running_var": "_bn0.running_var",
        "blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv.weight",
        "blocks.1.0.conv_pw.weight": "_blocks.1._expand_conv.weight",
        "blocks.6.0.bn3.bias": "_blocks.15._bn2.bias",
        "conv_head.weight": "_conv_head.weight",
        "bn2.running_mean": "_bn1.running_mean",
    }
    for ours, theirs in places.items():
        assert torch.equal(own[ours], stored[theirs]), ours
    assert (backbone.mean, backbone.std) == (HALF, HALF)
    assert "ImageNet-1k, TensorFlow checkpoint" in backbone.origin


def test_googlenet_normalised_once_by_a_half_is_torchvisions_normalised_twice() -> None:
    from torchvision.models import googlenet

    theirs = googlenet(weights=None, aux_logits=False, init_weights=False, transform_input=True).eval()
    raw = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(theirs._transform_input((raw - mean) / std), (raw - 0.5) / 0.5)
    backbone = family_of("googlenet").build("googlenet", theirs.state_dict())
    with torch.inference_mode():
        theirs.fc = torch.nn.Identity()
        torch.testing.assert_close(backbone.module.eval()((raw - 0.5) / 0.5), theirs((raw - mean) / std), rtol=1e-4, atol=1e-5)


def altered(listed: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    key = "layer1.0.conv1.weight"
    if how == "missing":
        return {k: v for k, v in listed.items() if k != key}
    return (
        listed
        | {
            "odd": {"layer5.weight": torch.zeros(1)},
            "shape": {key: torch.zeros(64, 64, 1, 1)},
            "integers": {key: torch.zeros(64, 64, 3, 3, dtype=torch.int64)},
            "nan": {key: torch.full((64, 64, 3, 3), torch.nan)},
        }[how]
    )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "layer1.0.conv1.weight is missing"),
        ("odd", "layer5.weight is not a tensor of this backbone"),
        ("shape", r"shape \(64, 64, 1, 1\), not \(64, 64, 3, 3\)"),
        ("integers", r"torch.int64, not torch.float32"),
        ("nan", "not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(how: str, said: str, tmp_path: Path) -> None:
    save_file(altered(published_like("resnet18")[1], how), tmp_path / "resnet18.safetensors")
    with pytest.raises(WeightsRefused, match=rf"do not fit resnet18: 1 problem.*{said}"):
        build("resnet18", "imagenet", tmp_path)
