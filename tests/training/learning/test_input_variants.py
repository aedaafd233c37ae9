"""What the authors' code feeds its networks, repeated for comparison: scrambled channels, no normalisation."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr.tasks import PROGNOSIS, SEVERITY
from tests.training.learning.test_channels import Pool, seen_by_backbone
from training.learning.backbones.backbone import Backbone
from training.learning.fitting import predict
from training.learning.network import Network, create, export_onnx, scrambled


def network(**variant: str) -> Network:
    return Network(Backbone(Pool(), 3, "test", (0.2, 0.4, 0.6), (0.1, 0.2, 0.5)), (PROGNOSIS, SEVERITY), **variant)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(3, 30))
@settings(max_examples=30, deadline=None)
def test_scrambled_is_the_reshape_of_the_film_repeated_along_a_last_axis(seed: int, batch: int, side: int) -> None:
    films = np.random.default_rng(seed).integers(0, 256, (batch, 1, side, side), dtype=np.uint8)
    theirs = np.stack([np.repeat(film[0][:, :, None], 3, axis=2).reshape(3, side, side) for film in films])
    assert np.array_equal(scrambled(torch.from_numpy(films)).numpy(), theirs)


def test_a_scrambled_channel_shows_a_third_of_the_film_only() -> None:
    film = torch.arange(12.0).view(1, 1, 12, 1).expand(1, 1, 12, 12)  # each row is its own gray value
    channels = scrambled(film)[0]
    assert [(int(c.min()), int(c.max())) for c in channels] == [(0, 3), (4, 7), (8, 11)]


def test_without_normalisation_the_backbone_sees_the_film_in_0_to_1() -> None:
    films = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen_by_backbone(network(normalisation="none"), films), (films / 255).expand(2, 3, 8, 8))


def test_scrambled_films_are_normalised_channel_by_channel_like_others() -> None:
    films = torch.randint(256, (2, 1, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1), torch.tensor([0.1, 0.2, 0.5]).view(3, 1, 1)
    expected = (scrambled(films) / 255 - mean) / std
    torch.testing.assert_close(seen_by_backbone(network(channels="scrambled"), films), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("field", "allowed"), [("normalisation", "'backbone'.*'none'"), ("channels", "'gray'.*'scrambled'")])
def test_another_spelling_is_refused_where_the_authors_code_ignored_it(field: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"'Imagenet'.*{allowed}"):
        network(**{field: "Imagenet"})


def test_variants_change_neither_the_initial_weights_nor_their_names() -> None:
    plain = create("shufflenet_v2_x0_5", "scratch", (PROGNOSIS,), 8, 0.0, 0).state_dict()
    other = create("shufflenet_v2_x0_5", "scratch", (PROGNOSIS,), 8, 0.0, 0, "none", "scrambled").state_dict()
    assert plain.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in plain.items())


@pytest.mark.long
def test_the_exported_graph_scrambles_and_leaves_out_the_normalisation_too(tmp_path: Path) -> None:
    both = create("shufflenet_v2_x0_5", "scratch", (PROGNOSIS, SEVERITY), 8, 0.0, 0, "none", "scrambled")
    films = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    expected = predict(both, films)
    export_onnx(both, 48, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    for n in (1, 3):
        rows = session.run(["severity"], {"film": films[:n, None]})[0]
        np.testing.assert_allclose(rows, expected["severity"][:n], rtol=1e-4, atol=1e-5)
