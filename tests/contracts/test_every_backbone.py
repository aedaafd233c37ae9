"""What every backbone keeps to: it builds, learns, has the feature size of its family, averages, and never pretends to be pretrained."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from cxr.tasks import PROGNOSIS, SEVERITY
from training.learning.backbones import FAMILIES, NAMES, build
from training.learning.backbones.backbone import UnknownBackbone, WeightsNotFound, average
from training.learning.backbones.efficientnet import lite0_file
from training.learning.fitting import predict
from training.learning.network import Network, create, export_onnx

# The 18 of the paper: size of the features, millions of parameters without the head.
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


def test_the_backbones_are_the_eighteen_of_the_paper_each_in_one_family() -> None:
    assert set(NAMES) == set(TABLE)
    assert len(NAMES) == len(set(NAMES)) == 18
    assert len(FAMILIES) == 6


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


@pytest.mark.parametrize("name", NAMES)
def test_two_of_them_average_parameters_and_buffers_and_the_average_loads(name: str) -> None:
    module = build(name).module
    first = {key: value.clone() for key, value in module.state_dict().items()}
    second = {key: value * 3 for key, value in first.items()} | {
        key: value + 4 for key, value in first.items() if key.endswith("num_batches_tracked")
    }
    module.load_state_dict(average(first, second))
    assert any(key.endswith("running_var") for key in first)
    for key, value in module.state_dict().items():
        assert torch.equal(value, first[key] + 2 if key.endswith("num_batches_tracked") else first[key] * 2), key


@pytest.mark.parametrize("name", [name for name in NAMES if name != PRETRAINED])
def test_pretrained_weights_that_are_not_here_are_refused_and_never_replaced_by_random_ones(name: str) -> None:
    with pytest.raises(WeightsNotFound, match=rf"'imagenet' weights for backbone '{name}'.*scratch.*{PRETRAINED}"):
        build(name, "imagenet")


@pytest.mark.parametrize("name", [PRETRAINED, "resnet18"])
def test_unknown_weights_are_refused(name: str) -> None:
    with pytest.raises(WeightsNotFound, match="'chexpert'"):
        build(name, "chexpert")


def test_an_unknown_backbone_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownBackbone, match=r"unknown backbone 'resnet19'; known: densenet121, .*shufflenet_v2_x1_0"):
        build("resnet19")


def test_imagenet_weights_are_the_packaged_tensors_in_the_places_of_their_names() -> None:
    backbone = build(PRETRAINED, "imagenet")
    own, stored = backbone.module.state_dict(), torch.load(lite0_file(), map_location="cpu", weights_only=True)
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
    assert (backbone.mean, backbone.std) == ((0.5,) * 3, (0.5,) * 3)
    assert "ImageNet-1k" in backbone.origin


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v2"])
def test_the_exported_graph_computes_what_torch_computes_for_any_number_of_films(name: str, tmp_path: Path) -> None:
    network: Network = create(name, "scratch", (PROGNOSIS, SEVERITY), hidden=16, dropout=0.5, seed=0)
    films = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)
    network(torch.from_numpy(films)[:, None])  # statistics that are not those of a new BatchNorm
    expected = predict(network, films)
    path = tmp_path / "network.onnx"
    export_onnx(network, 64, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 5):
        for task, rows in zip(
            ("prognosis", "severity"), session.run(["prognosis", "severity"], {"film": films[:n, None]}), strict=True
        ):
            np.testing.assert_allclose(rows, expected[task][:n], rtol=1e-4, atol=1e-5)
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
