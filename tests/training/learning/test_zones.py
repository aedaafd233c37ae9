import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxr.tasks import PROGNOSIS, SECOND, SEVERITY, ZONES, Task
from training.data.samples import assemble
from training.learning.network import Explained, create
from training.learning.places import places_of
from training.learning.zones import zone_shares


@given(st.integers(1, 12), st.integers(1, 12))
def test_every_zone_is_a_mean_and_together_they_cover_each_place_alike(height: int, width: int) -> None:
    shares = zone_shares(torch.zeros(1, 1, height, width))
    torch.testing.assert_close(shares.sum((1, 2)), torch.ones(6))
    torch.testing.assert_close(shares.mean(0), torch.full((height, width), 1 / (height * width)))


def test_a_is_the_top_of_the_patients_right_lung_which_is_left_on_the_film() -> None:
    shares = zone_shares(torch.zeros(1, 1, 6, 4))
    assert [tuple(torch.nonzero(zone)[0].tolist()) for zone in shares] == [(0, 0), (2, 0), (4, 0), (0, 2), (2, 2), (4, 2)]


def test_a_mirrored_map_asks_the_other_lung() -> None:
    feature_map = torch.rand(2, 3, 6, 6)
    by_name = {zone.name: zone for zone in ZONES}
    for zone in ZONES:
        other = by_name[zone.mirror]
        assert other.mirror == zone.name
        seen, mirrored = (places_of(z.zone, m, None).mean(m) for z, m in ((zone, feature_map), (other, feature_map.flip(-1))))
        torch.testing.assert_close(seen, mirrored)


def network(tasks: tuple[Task, ...], **changes: str):  # type: ignore[no-untyped-def]
    return create("shufflenet_v2_x0_5", "scratch", tasks, hidden=8, dropout=0.0, seed=0, **changes).eval()


def test_zones_share_a_head_and_see_their_own_part_of_the_film() -> None:
    net = network((SEVERITY, *ZONES))
    assert set(net.heads) == {"severity", "zones"}
    film = torch.zeros(1, 1, 192, 192)
    changed = film.clone()
    changed[..., :64, :96] = 255
    before, after = net(film), net(changed)
    moved = {zone.name: float((after[zone.name] - before[zone.name]).detach().abs().sum()) for zone in ZONES}
    assert max(moved, key=moved.__getitem__) == "zone-a"


def test_a_second_reader_has_no_answer_of_ones_own() -> None:
    net = network((SEVERITY, SECOND))
    answers = net(torch.rand(2, 1, 64, 64) * 255)
    torch.testing.assert_close(answers["severity"], answers["severity-second"])
    assert set(net.heads) == {"severity"}


def test_what_was_only_learnt_along_has_no_output_and_changes_no_answer() -> None:
    net, film = network((SEVERITY, *ZONES)), torch.rand(2, 1, 64, 64) * 255
    whole = net(film)["severity"]
    net.tasks = (SEVERITY,)
    torch.testing.assert_close(net(film), {"severity": whole})
    logits, evidence = Explained(net)(film)
    torch.testing.assert_close(logits, whole)
    assert evidence.shape == (2, 4, 2, 2)


def test_zones_need_a_place_for_every_feature() -> None:
    with pytest.raises(ValueError, match="gray"):
        network(ZONES, channels="scrambled")


def test_labels_of_a_mirrored_film_change_sides_with_it() -> None:
    tasks = ("severity", *(zone.name for zone in ZONES))
    labels = {"severity": 2} | {zone.name: i % 4 for i, zone in enumerate(ZONES)}
    films = [np.zeros((4, 4), np.uint8)] * 3
    samples = assemble(films, ["a", "b", "c"], [labels, labels, {"zone-a": 3}], tasks)
    found, known = samples.labels_of(np.array([0, 1, 2]), np.array([False, True, True]))
    assert found[0].tolist() == [2, 0, 1, 2, 3, 0, 1] and found[1].tolist() == [2, 3, 0, 1, 0, 1, 2]
    assert found[2, 4] == 3 and known[2].tolist() == [False] * 4 + [True, False, False]


def test_a_task_without_a_mirror_image_is_left_alone() -> None:
    samples = assemble([np.zeros((4, 4), np.uint8)], ["a"], [{"prognosis": 1}], (PROGNOSIS.name,))
    found, _ = samples.labels_of(np.array([0]), np.array([True]))
    assert found.tolist() == [[1]]
