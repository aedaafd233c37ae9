"""Sets of weights of one's own: found by name, told apart by digest, refused when they are not what they were."""

from pathlib import Path

import pytest
import torch

from training import own_weights
from training.imagenet import WeightsNotFound, WeightsRefused
from training.learning.backbones import build
from training.learning.backbones.transplant import NoKin, transplant
from training.pretraining import _kept, from_sibling
from training.protocol.plan import start_of
from training.protocol.recipe import BackboneChoice


def test_what_is_kept_is_what_a_network_starts_from_and_its_origin_is_told(tmp_path: Path) -> None:
    made = build("shufflenet_v2_x0_5")
    note = _kept(made, "chests", "shufflenet_v2_x0_5", tmp_path, "learnt somewhere")
    found = build("shufflenet_v2_x0_5", "chests", tmp_path)
    assert found.origin == "learnt somewhere"
    assert all(torch.equal(value, found.module.state_dict()[name]) for name, value in made.module.state_dict().items())
    assert start_of(BackboneChoice(name="shufflenet_v2_x0_5", weights="chests"), tmp_path) == note.sha256
    assert not list(tmp_path.glob(".*")), "nothing half-made is left"


def test_a_continued_lite0_keeps_the_padding_and_normalisation_it_was_trained_with(tmp_path: Path) -> None:
    made = build("efficientnet_lite0", "imagenet", tmp_path)
    _kept(made, "same", "efficientnet_lite0", tmp_path, "as it was")
    found = build("efficientnet_lite0", "same", tmp_path)
    film = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(found.module.eval()(film), made.module.eval()(film))
    assert (found.mean, found.std) == (made.mean, made.std)


def test_an_absent_set_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFound, match=r"no weights 'chests' for 'resnet18'.*mdmt starts"):
        build("resnet18", "chests", tmp_path)


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    _kept(build("shufflenet_v2_x0_5"), "chests", "shufflenet_v2_x0_5", tmp_path, "somewhere")
    with own_weights.place("chests", "shufflenet_v2_x0_5", tmp_path).open("ab") as file:
        file.write(b"more")
    with pytest.raises(WeightsRefused, match="SHA-256"):
        start_of(BackboneChoice(name="shufflenet_v2_x0_5", weights="chests"), tmp_path)


@pytest.mark.parametrize("name", ["../up", "Chests", "", "imagenet", "scratch", "a" * 41, "a/b", ".hidden"])
def test_a_name_that_could_be_a_path_or_mean_something_else_is_no_set(name: str, tmp_path: Path) -> None:
    assert not own_weights.is_set(name)
    with pytest.raises(WeightsRefused, match="no name for a set"):
        own_weights.place(name, "resnet18", tmp_path)


def test_a_sibling_sees_films_as_the_giver_did(tmp_path: Path) -> None:
    """The first convolution and BatchNorm agree away from the border, though normalisation and epsilon differ."""
    giver = build("efficientnet_lite0", "imagenet", tmp_path)
    taker = build("efficientnet_b0")
    copied, own = transplant(giver, taker)
    assert copied / own > 0.8
    gray = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    looks = []
    with torch.inference_mode():
        for one in (giver, taker):
            film = (gray - torch.tensor(one.mean).view(1, 3, 1, 1)) / torch.tensor(one.std).view(1, 3, 1, 1)
            norm = one.module.bn1.eval()
            stem = torch.nn.functional.conv2d(film, one.module.conv_stem.weight)  # no padding: all of it is away from the border
            looks.append((stem - norm.running_mean.view(1, -1, 1, 1)) / (norm.running_var + norm.eps).sqrt().view(1, -1, 1, 1))
    torch.testing.assert_close(looks[0], looks[1], rtol=1e-4, atol=1e-4)


def test_the_gates_that_the_giver_does_not_have_are_nearly_open(tmp_path: Path) -> None:
    note = from_sibling("efficientnet_lite0", "efficientnet_b0", "lite0", tmp_path)
    assert "copied from efficientnet_lite0" in note.origin
    state = build("efficientnet_b0", "lite0", tmp_path).module.state_dict()
    biases = [value for name, value in state.items() if name.endswith(".se.conv_expand.bias")]
    assert biases and all(torch.sigmoid(value).min() > 0.98 for value in biases)


def test_strangers_give_nothing() -> None:
    with pytest.raises(NoKin, match="of the same name and shape"):
        transplant(build("shufflenet_v2_x0_5"), build("resnet18"))
