"""What a table of where networks look is held against."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cxr.cropping import Box
from cxr.evidence import inside
from cxr.pipeline import Film
from cxr.segmentation import Verdict
from training.evidence.energy import best_place

SIDE = 96


def film(lungs: np.ndarray) -> Film:
    gray = np.zeros(lungs.shape, np.uint8)
    return Film(gray, gray, Box(0, 0, SIDE, SIDE), Verdict.BOTH_LUNGS, float(lungs.mean()), lungs, "", (), "")


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_no_evidence_on_a_grid_is_more_inside_than_its_best_place(side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    chest = film(np.kron(rng.random((8, 8)) < 0.4, np.ones((12, 12))).astype(bool))
    evidence = rng.exponential(size=(side, side)).astype(np.float32) ** 4
    assert inside(evidence, chest) <= best_place((side, side), chest) + 1e-6


def test_a_grid_of_three_cannot_look_at_a_narrow_lung_alone_and_a_grid_of_seven_can() -> None:
    lungs = np.zeros((SIDE, SIDE), bool)
    lungs[16:80, 12:40] = lungs[16:80, 56:84] = True
    assert best_place((3, 3), film(lungs)) < 0.8 < best_place((7, 7), film(lungs))
