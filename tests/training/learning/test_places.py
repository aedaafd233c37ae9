import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from cxr.engine import EVIDENCE
from cxr.tasks import PROGNOSIS, SEVERITY, ZONES
from training.learning.evidence import Sight, evidence
from training.learning.network import Explained, Head, Network, create, export_onnx
from training.learning.places import FINER, lungs_on, places_of

sides = st.integers(1, 7)
seeds = st.integers(0, 2**32 - 1)


def network(**changes: str) -> Network:
    return create(
        "shufflenet_v2_x0_5", "scratch", (PROGNOSIS, SEVERITY, *ZONES), hidden=16, dropout=0.5, seed=0, **changes
    ).eval()


def film(side: int = 128) -> Tensor:
    """Two bright lungs on black, different from each other: (1, 1, side, side) uint8."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((side, side), np.uint8)
    for left in (side // 8, side * 9 // 16):
        pixels[side // 8 : -side // 8, left : left + side * 5 // 16] = rng.integers(60, 250, (side * 3 // 4, side * 5 // 16))
    return torch.from_numpy(pixels)[None, None]


@given(sides, sides, seeds)
def test_the_mean_is_that_over_the_lungs_of_the_enlarged_map(height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    feature_map, lungs = torch.randn(2, 3, height, width), torch.rand(2, 1, FINER * height, FINER * width)
    places = places_of(None, feature_map, lungs)
    assert places is not None
    enlarged = functional.interpolate(feature_map, scale_factor=FINER, mode="bilinear", align_corners=False)
    torch.testing.assert_close(places.mean(feature_map), (enlarged * places.shares).sum((2, 3)), rtol=1e-4, atol=1e-5)


@given(sides, sides, seeds)
def test_what_the_places_add_is_the_logit_without_its_biases(height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    head, feature_map = Head(5, 4, 8, 0.0).eval(), torch.randn(2, 5, height, width)
    places = places_of(None, feature_map, torch.rand(2, 1, FINER * height, FINER * width))
    assert places is not None
    given_ = places.mean(feature_map)
    logits, silent = head(given_), head[3].weight @ (head[0].bias * (head[0](given_) > 0))[..., None]
    added = evidence(head, Sight(given_, ((feature_map, places),))).sum((2, 3))
    torch.testing.assert_close(added, logits - silent[..., 0] - head[3].bias, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("black", [0, 37])
def test_lungs_are_what_is_brighter_than_the_black_around_them(black: int) -> None:
    drawn = lungs_on(film().clamp(min=black), torch.zeros(1, 1, 4, 4))
    assert drawn.shape == (1, 1, 16, 16)
    torch.testing.assert_close(drawn, functional.avg_pool2d((film() > 0).float(), 8))


@given(seeds)
def test_what_is_outside_the_lungs_counts_nothing(seed: int) -> None:
    torch.manual_seed(seed)
    feature_map, lungs = torch.randn(1, 3, 4, 4), (torch.rand(1, 1, 16, 16) < 0.3).float()
    for zone in (None, 2):
        places = places_of(zone, feature_map, lungs)
        assert places is not None and float(places.shares[lungs == 0].sum()) == 0


def test_a_film_without_black_is_seen_everywhere_alike() -> None:
    feature_map = torch.rand(1, 3, 4, 4)
    places = places_of(None, feature_map, torch.ones(1, 1, 16, 16))
    assert places is not None
    torch.testing.assert_close(places.mean(feature_map), feature_map.mean((2, 3)))


def test_a_zone_that_no_lung_reaches_has_a_mean_of_its_own_places() -> None:
    feature_map, lungs = torch.rand(1, 3, 6, 6), torch.zeros(1, 1, 24, 24)
    places = places_of(0, feature_map, lungs)
    assert places is not None and float(places.shares[..., 8:, :].sum()) == 0.0
    torch.testing.assert_close(places.shares.sum(), torch.tensor(1.0))


def test_no_answer_comes_from_the_black_around_the_lungs() -> None:
    explained, lungs = Explained(network(pooling="lungs")), functional.avg_pool2d((film() > 0).float(), 8)[0, 0]
    assert set(lungs.unique().tolist()) == {0.0, 1.0}
    for found in explained(film())[8:]:
        added = found.detach().abs().sum((0, 1))
        assert added.shape == (16, 16)
        assert float(added[lungs == 0].sum()) == 0 < float(added.sum())


def test_the_weights_are_those_of_a_network_that_looks_everywhere() -> None:
    assert network(pooling="lungs").state_dict().keys() == network().state_dict().keys()


def test_lungs_need_a_place_for_every_feature_and_pooling_is_one_of_two() -> None:
    with pytest.raises(ValueError, match="gray"):
        network(pooling="lungs", channels="scrambled")
    with pytest.raises(ValueError, match="'lungs', or 'zones'"):
        network(pooling="heart")


@pytest.mark.long
def test_the_graph_answers_and_shows_as_torch_does(tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch_network = network(pooling="lungs")
    torch_network.tasks = torch_network.tasks[:2]
    export_onnx(torch_network, 128, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    names = ["prognosis", "severity", EVIDENCE + "prognosis", EVIDENCE + "severity"]
    for films in (film(), film().repeat(3, 1, 1, 1)):
        with torch.inference_mode():
            wanted = Explained(torch_network)(films)
        for got, expected in zip(session.run(names, {"film": films.numpy()}), wanted, strict=True):
            np.testing.assert_allclose(got, expected.numpy(), rtol=1e-2, atol=1e-3 * float(expected.abs().max()))
