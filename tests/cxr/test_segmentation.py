"""A lung mask is cleaned by size and judged by what is left; the graph sees the whole film squeezed."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from cxr.segmentation import MASK_SIZE, OnnxSegmenter, Verdict, clean, judge
from tests.serving.tiny_bundle import film, write_bundle


def mask(*rectangles: tuple[int, int, int, int], size: int = 100) -> NDArray[np.bool_]:
    """True inside each (top, left, height, width); on 100 × 100 one percent is 100 pixels."""
    drawn = np.zeros((size, size), bool)
    for top, left, height, width in rectangles:
        drawn[top : top + height, left : left + width] = True
    return drawn


LEFT, RIGHT = (20, 10, 60, 25), (20, 60, 60, 25)


def test_an_object_of_two_percent_stays_and_a_smaller_one_goes() -> None:
    assert clean(mask(LEFT, (90, 60, 10, 20))).sum() == 60 * 25 + 200
    np.testing.assert_array_equal(clean(mask(LEFT, (90, 60, 10, 19))), mask(LEFT))


def test_a_hole_under_two_percent_is_filled_and_one_of_two_percent_stays_open() -> None:
    pierced, open_wide = mask((10, 10, 80, 40)), mask((10, 10, 80, 40))
    pierced[40:50, 20:39] = False  # 190 pixels
    open_wide[40:50, 20:40] = False  # 200 pixels
    np.testing.assert_array_equal(clean(pierced), mask((10, 10, 80, 40)))
    np.testing.assert_array_equal(clean(open_wide), open_wide)


def test_only_the_two_largest_objects_stay() -> None:
    np.testing.assert_array_equal(clean(mask(LEFT, RIGHT, (90, 10, 8, 40))), mask(LEFT, RIGHT))


def test_specks_inside_a_hole_go_before_the_hole_is_judged() -> None:
    pierced = mask((10, 10, 80, 40))
    pierced[40:50, 20:39] = False
    pierced[45, 25:35] = True
    np.testing.assert_array_equal(clean(pierced), mask((10, 10, 80, 40)))


@given(seed=st.integers(0, 2**32 - 1), blur=st.floats(0.5, 6), smallest=st.floats(0, 0.2), share=st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_what_is_left_is_at_most_two_objects_none_of_them_small(seed: int, blur: float, smallest: float, share: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), blur)
    found = noise > np.quantile(noise, share)
    lungs = clean(found, smallest)
    labelled, n = ndimage.label(lungs)
    sizes = np.bincount(labelled.ravel())[1:]
    assert n <= 2 and all(size >= smallest * found.size for size in sizes)
    holes, _ = ndimage.label(~lungs)
    assert all(size >= smallest * found.size for size in np.bincount(holes.ravel())[1:])
    np.testing.assert_array_equal(clean(lungs, smallest), lungs)


@pytest.mark.parametrize("smallest", [0.0, 0.02])
def test_an_empty_mask_stays_empty_at_any_setting(smallest: float) -> None:
    assert not clean(mask(), smallest).any()
    np.testing.assert_array_equal(clean(mask(LEFT), smallest), mask(LEFT))


@pytest.mark.parametrize(
    ("rectangles", "verdict"),
    [
        ((LEFT, RIGHT), Verdict.BOTH_LUNGS),
        (((20, 10, 60, 75),), Verdict.BOTH_LUNGS),  # lungs that touch: as wide as a chest
        (((20, 10, 60, 45),), Verdict.BOTH_LUNGS),  # three quarters of the height
        (((20, 10, 60, 44),), Verdict.ONE_LUNG),
        ((LEFT,), Verdict.ONE_LUNG),
        ((), Verdict.NO_LUNGS),
    ],
)
def test_the_verdict_counts_objects_and_knows_lungs_that_touch(
    rectangles: tuple[tuple[int, int, int, int], ...], verdict: Verdict
) -> None:
    assert judge(mask(*rectangles)) is verdict


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return (write_bundle(tmp_path_factory.mktemp("bundle")) / "segmenter.onnx").read_bytes()


def test_the_graph_sees_the_whole_film_squeezed_and_is_named_by_its_content(graph: bytes) -> None:
    segmenter = OnnxSegmenter(graph)
    assert segmenter.digest == hashlib.sha256(graph).hexdigest()
    wide = film(size=160)[:, ::2]
    found = segmenter.probability(wide)
    assert found.shape == (MASK_SIZE, MASK_SIZE) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    assert judge(clean(found >= 0.5)) is Verdict.BOTH_LUNGS
    columns = np.flatnonzero((found >= 0.5).any(axis=0))
    assert columns[0] == pytest.approx(0.17 * MASK_SIZE, abs=6) and columns[-1] == pytest.approx(0.83 * MASK_SIZE, abs=6)
