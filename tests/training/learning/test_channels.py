"""What reaches the backbone. The authors' loader reshapes H×W×3 to 3×H×W, so that each channel holds another third of the film, and
normalises only where the configuration spells "Imagenet". Here both are part of the network; these tests keep it so."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cxr.tasks import PROGNOSIS, SEVERITY
from tests.cxr.dicoms import phantom
from training.learning.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone
from training.learning.network import Network, create, scrambled

Statistic = tuple[float, float, float]
OTHER_MEAN, OTHER_STD = (0.1, 0.5, 0.9), (0.5, 1.0, 2.0)


class Pool(nn.Module):
    """The smallest backbone: the mean of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


def seen_by_backbone(network: Network, films: Tensor) -> Tensor:
    """The (B, 3, S, S) that the backbone is given."""
    caught: list[Tensor] = []
    handle = network.backbone.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].detach().clone()))
    with torch.no_grad():
        network.eval()(films)
    handle.remove()
    assert len(caught) == 1, "the shared backbone runs once for all tasks"
    return caught[0]


@pytest.fixture
def network() -> Network:
    return Network(Backbone(Pool(), 3, "test"), (PROGNOSIS, SEVERITY))


@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), (OTHER_MEAN, OTHER_STD)])
def test_each_channel_is_the_same_intact_film(mean: Statistic, std: Statistic) -> None:
    chest = phantom(64, 64)
    network = Network(Backbone(Pool(), 3, "test", mean, std), (PROGNOSIS, SEVERITY))
    seen = seen_by_backbone(network, torch.from_numpy(chest)[None, None])
    assert seen.shape == (1, 3, 64, 64)
    for channel, m, s in zip(seen[0].numpy(), mean, std, strict=True):
        np.testing.assert_allclose((channel * s + m) * 255, chest, atol=1e-2)


def test_the_authors_reshape_would_be_caught() -> None:
    chest = phantom(64, 64)
    scrambled = np.repeat(chest[:, :, None], 3, axis=2).reshape(3, 64, 64)
    assert all(np.abs(channel.astype(int) - chest).mean() > 20 for channel in scrambled)


@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 4), side=st.integers(8, 40))
@settings(max_examples=25, deadline=None)
def test_normalisation_is_always_that_of_the_backbone_on_values_of_0_to_1(seed: int, batch: int, side: int) -> None:
    films = np.random.default_rng(seed).integers(0, 256, (batch, 1, side, side), dtype=np.uint8)
    for mean, std in ((IMAGENET_MEAN, IMAGENET_STD), (OTHER_MEAN, OTHER_STD)):
        network = Network(Backbone(Pool(), 3, "test", mean, std), (PROGNOSIS,))
        expected = np.stack([(films[:, 0] / 255 - m) / s for m, s in zip(mean, std, strict=True)], axis=1)
        for given_ in (torch.from_numpy(films), torch.from_numpy(films).float()):  # as stored, and as augmented
            np.testing.assert_allclose(seen_by_backbone(network, given_).numpy(), expected, atol=1e-5)


def test_training_and_evaluation_see_the_same(network: Network) -> None:
    film = torch.from_numpy(phantom(32, 32))[None, None]
    caught: list[Tensor] = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    network.train()(film)
    network.eval()(film)
    assert torch.equal(*caught)


@pytest.mark.parametrize("option", [{"normalisation": "ImageNet"}, {"normalisation": "None"}, {"channels": "grey"}], ids=str)
def test_a_misspelled_normalisation_is_refused_and_never_means_none(option: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"use 'backbone'|use 'gray'"):
        create("shufflenet_v2_x0_5", "scratch", (PROGNOSIS, SEVERITY), 8, 0.0, 0, **option)


def test_the_authors_variants_are_what_their_code_does_and_nothing_else(network: Network) -> None:
    chest = phantom(64, 64)
    film = torch.from_numpy(chest)[None, None]
    assert torch.equal(scrambled(film)[0], torch.from_numpy(np.repeat(chest[:, :, None], 3, axis=2).reshape(3, 64, 64)))
    plain = create("shufflenet_v2_x0_5", "scratch", (PROGNOSIS, SEVERITY), 8, 0.0, 0, normalisation="none")
    np.testing.assert_allclose(seen_by_backbone(plain, film)[0, 0].numpy(), chest / 255, atol=1e-6)


def test_weights_loaded_from_elsewhere_do_not_bring_another_normalisation(network: Network) -> None:
    assert not {"scale", "shift"} & network.state_dict().keys()


def test_a_backbone_by_name_is_fed_like_this_too() -> None:
    network = create("shufflenet_v2_x0_5", "scratch", (PROGNOSIS, SEVERITY), 8, 0.0, seed=0)
    chest = phantom(64, 64)
    seen = seen_by_backbone(network, torch.from_numpy(chest)[None, None])[0]
    for channel, mean, std in zip(seen, IMAGENET_MEAN, IMAGENET_STD, strict=True):
        np.testing.assert_allclose(channel.numpy(), (chest / 255 - mean) / std, atol=1e-5)
