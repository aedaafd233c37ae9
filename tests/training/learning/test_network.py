"""The network of figure 1: normalisation inside, one shared backbone, one head per task, the same start from the same seed."""

import pytest
import torch
from torch import nn

from cxr.tasks import PROGNOSIS, SEVERITY
from training.learning.backbones.backbone import Backbone
from training.learning.network import Network, create

MEAN, STD = (0.2, 0.4, 0.6), (0.1, 0.2, 0.5)


def averaging() -> Backbone:
    """A "backbone" whose features are the means of its three input channels: it shows what the network feeds it."""
    return Backbone(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 3, "none", MEAN, STD)


def test_films_are_scaled_and_normalised_inside_and_gray_is_given_to_all_three_channels() -> None:
    network = Network(averaging(), (PROGNOSIS,))
    network.heads["prognosis"] = nn.Identity()
    films = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 8, 8)
    expected = (torch.tensor([[0.0], [0.2], [1.0]]) - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(network(films)["prognosis"], expected, rtol=1e-5, atol=1e-5)


def test_uint8_films_and_the_same_numbers_as_floats_give_equal_logits() -> None:
    network = Network(averaging(), (PROGNOSIS, SEVERITY)).eval()
    films = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert all(torch.equal(network(films)[name], network(films.float())[name]) for name in ("prognosis", "severity"))


def test_every_task_has_a_head_of_its_own_shape_and_the_backbone_runs_once_for_all() -> None:
    network = Network(averaging(), (PROGNOSIS, SEVERITY), hidden=7).eval()
    calls = []
    network.backbone.register_forward_hook(lambda *_: calls.append(1))
    logits = network(torch.zeros(5, 1, 8, 8))
    assert {name: tuple(rows.shape) for name, rows in logits.items()} == {"prognosis": (5, 2), "severity": (5, 4)}
    assert len(calls) == 1
    assert [tuple(head[0].weight.shape) for head in network.heads.values()] == [(7, 3), (7, 3)]


def test_saved_weights_hold_learned_tensors_only_for_normalisation_comes_from_the_backbone() -> None:
    assert {name.split(".")[0] for name in Network(averaging(), (PROGNOSIS,)).state_dict()} == {"heads"}


@pytest.mark.parametrize("same", [True, False])
def test_a_seed_decides_every_initial_weight(same: bool) -> None:
    arguments = ("shufflenet_v2_x0_5", "scratch", (PROGNOSIS, SEVERITY), 16, 0.5)
    first, second = create(*arguments, seed=3).state_dict(), create(*arguments, seed=3 if same else 4).state_dict()
    equal = [torch.equal(first[name], second[name]) for name in first if first[name].dim() > 1]
    assert all(equal) if same else not any(equal)


def test_a_network_remembers_where_its_weights_come_from() -> None:
    assert create("resnet18", "scratch", (PROGNOSIS,), 16, 0.5, seed=0).origin.startswith("random (torchvision ")
