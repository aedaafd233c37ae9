import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cxr.engine import EVIDENCE
from cxr.tasks import PROGNOSIS, SEVERITY, ZONES
from training.learning.close_ups import close_ups, edge_of
from training.learning.network import Explained, Network, create, export_onnx

SIDE = 128
corners = st.integers(2, 8)


def network(tasks=(PROGNOSIS, SEVERITY, *ZONES)) -> Network:  # type: ignore[no-untyped-def]
    return create("shufflenet_v2_x0_5", "scratch", tasks, hidden=16, dropout=0.5, seed=0, pooling="zones").eval()


def film(left: tuple[int, int] = (16, 16), right: tuple[int, int] = (10, 72), grays: tuple[int, ...] = ()) -> Tensor:
    """Two lungs of 90 × 42 pixels on black at (top, left): noise, or the six zones in these grays. (1, 1, 128, 128) uint8"""
    rng = np.random.default_rng(0)
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    for lung, (y, x) in enumerate((left, right)):
        drawn = rng.integers(60, 250, (90, 42))
        if grays:
            drawn = np.repeat(np.array(grays[3 * lung : 3 * lung + 3]), 30)[:, None] * np.ones((1, 42), int)
        pixels[y : y + 90, x : x + 42] = drawn
    return torch.from_numpy(pixels)[None, None]


@given(corners, corners, corners, corners)
def test_each_cut_out_has_its_zone_in_its_middle_wherever_the_lungs_are(a: int, b: int, c: int, d: int) -> None:
    grays = (40, 80, 120, 160, 200, 240)
    zones = close_ups(film((a * 4, b), (c * 4, 70 + d), grays))
    edge = zones.pixels.shape[-1]
    middle = zones.pixels[0, :, edge // 3 : -edge // 3, edge // 3 : -edge // 3]
    torch.testing.assert_close(middle, torch.tensor(grays).float()[:, None, None].expand_as(middle), rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(zones.side[0], torch.full((6,), 42 * 1.2))
    torch.testing.assert_close(zones.top[0, :3], a * 4 + 15 + 30 * torch.arange(3) - 21 * 1.2)


def test_lungs_may_lie_beside_the_middle_of_the_film() -> None:
    moved = close_ups(film((16, 4), (16, 58), (40, 80, 120, 160, 200, 240)))  # the right lung begins 6 pixels left of it
    torch.testing.assert_close(moved.left[0], 0.5 * torch.tensor([2 * 4 + 42] * 3 + [2 * 58 + 42] * 3) - 21 * 1.2)


def test_a_mirrored_film_has_the_other_lungs_zones_mirrored() -> None:
    one, other = close_ups(film()), close_ups(film().flip(-1))
    torch.testing.assert_close(other.pixels[:, [3, 4, 5, 0, 1, 2]].flip(-1), one.pixels, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(other.shares[:, [3, 4, 5, 0, 1, 2]].flip(-1), one.shares)


@given(st.sampled_from(["both", "left", "none", "full"]))
def test_every_zone_of_every_film_has_places_that_count(which: str) -> None:
    shown = {"both": film(), "left": film(), "none": torch.zeros(1, 1, SIDE, SIDE), "full": torch.full((1, 1, SIDE, SIDE), 9)}[
        which
    ]
    if which == "left":
        shown[..., 64:] = 0
    zones = close_ups(shown)
    torch.testing.assert_close(zones.shares.sum((-2, -1)), torch.ones(1, 6))
    assert bool(zones.pixels.isfinite().all()) and bool((zones.side > 0).all())
    if which == "left":
        assert float(zones.shares[0, 3:, :, :7].sum()) == 0  # what was not found is looked for on its side of the film


@pytest.mark.parametrize(("size", "edge"), [(64, 64), (128, 64), (160, 64), (256, 96), (320, 128), (512, 192)])
def test_cut_outs_are_whole_places_of_a_last_map(size: int, edge: int) -> None:
    assert edge_of(size) == edge
    assert close_ups(torch.zeros(2, 1, size, size)).pixels.shape == (2, 6, edge, edge)


def test_a_zone_is_answered_by_its_own_cut_out_and_the_film_by_all() -> None:
    shown, changed = film(), film()
    changed[0, 0, 84:90, 84:100] = 30  # in zone F, far from the others' surroundings
    with torch.inference_mode():
        before, after = network()(shown), network()(changed)
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["prognosis", "severity", "zone-f"]


def test_what_the_places_add_is_the_logit_without_its_biases_and_none_is_outside_the_lungs() -> None:
    net = network()
    with torch.no_grad():
        found = Explained(net)(film())
        sights = net.sights(film())
    black = torch.nn.functional.avg_pool2d((film() > 0).float(), 8)[0, 0] == 0
    for task, sight, logits, added in zip(net.tasks, sights, found[:8], found[8:], strict=True):
        head = net.heads[task.output]
        silent = head[3].weight @ (head[0].bias * (head[0](sight.features) > 0))[..., None]
        torch.testing.assert_close(added.sum((2, 3)), logits - silent[..., 0] - head[3].bias, rtol=1e-3, atol=1e-5)
        assert added.shape == (1, len(task.classes), 16, 16)
        assert float(added.abs().sum((0, 1))[black].sum()) == 0


@pytest.mark.parametrize("zone", range(6))
def test_what_speaks_for_a_zone_is_shown_where_the_zone_is(zone: int) -> None:
    rows, columns = ((16, 10)[zone // 3] + 30 * (zone % 3), (16, 72)[zone // 3])
    with torch.inference_mode():
        added = Explained(network())(film())[10 + zone].abs().sum((0, 1))
    y, x = (np.indices((16, 16)) * 8 + 4).reshape(2, -1)
    inside = (y > rows - 4) & (y < rows + 34) & (x > columns - 4) & (x < columns + 46)
    assert float(added.flatten()[torch.from_numpy(inside)].sum()) == pytest.approx(float(added.sum()), rel=1e-5)


@pytest.mark.long
def test_the_graph_answers_and_shows_as_torch_does(tmp_path) -> None:  # type: ignore[no-untyped-def]
    net = network((PROGNOSIS, SEVERITY, ZONES[4]))
    export_onnx(net, SIDE, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    names = [prefix + task.name for prefix in ("", EVIDENCE) for task in net.tasks]
    for films in (film(), torch.cat([film(), film((20, 6), (4, 60)), torch.zeros_like(film())])):
        with torch.inference_mode():
            wanted = Explained(net)(films)
        for got, expected in zip(session.run(names, {"film": films.numpy()}), wanted, strict=True):
            np.testing.assert_allclose(got, expected.numpy(), rtol=1e-2, atol=1e-3 * float(expected.abs().max()))
