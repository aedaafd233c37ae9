"""Where the evidence falls: how it is counted."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.evidence.zones import ZONES, Zone, localised, on_the_side, zone_films
from cxr.bundle import Bundle
from cxr.reading import read
from tests.serving.tiny_bundle import encoded, film, write_bundle


@pytest.mark.parametrize(("zone", "share"), [(0, 0.75), (2, 0.75), (3, 0.25), (5, 0.25)])
def test_zones_a_to_c_are_on_the_left_of_the_film_and_d_to_f_on_its_right(zone: int, share: float) -> None:
    over = np.array([[2, 1, 0, 0], [0, 0, 0, 1]], dtype=np.float32)
    assert on_the_side(over, Zone(b"", zone, 2)) == share
    assert on_the_side(over, Zone(b"", zone, 4)) == (zone < 3)


def test_every_zone_is_diseased_in_turn_on_films_that_are_the_same_in_every_run() -> None:
    zones = list(zone_films(ZONES))
    assert [zone.diseased for zone in zones] == list(range(ZONES))
    for zone in zones:
        width = read(zone.film).pixels.shape[1]
        assert width / 3 < zone.parting < 2 * width / 3
    assert list(zone_films(2)) == zones[:2]


def test_films_with_evidence_are_counted_with_their_shares(tmp_path: Path) -> None:
    """One film as if its right lung were diseased, then as if its left were: the two shares sum to 1."""
    pair = [Zone(encoded(film()), zone, 80) for zone in (0, 5)]
    for found in localised(Bundle(write_bundle(tmp_path / "bundle")), pair, goal=0.0):
        assert (found.films + found.silent, found.hits) == (2, found.films)
        assert not found.films or found.mean == pytest.approx(0.5)
