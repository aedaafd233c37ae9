"""The box is a square of real pixels around the lungs; the crop is taken from the film itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from cxr.cropping import Box, crop, lung_box, lungs_only


def lungs(top: int, left: int, bottom: int, right: int, shape: tuple[int, int] = (200, 200)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


@given(st.integers(-80, 120), st.integers(-80, 120), st.integers(1, 150), st.sampled_from([1, 32, 90]))
def test_what_a_box_holds_beyond_the_film_is_black(left: int, top: int, side: int, size: int) -> None:
    film = np.random.default_rng(1).integers(1, 256, (60, 100), np.uint8)
    box = Box(left, top, left + side, top + side)
    square = np.pad(film, 300)[300 + top : 300 + top + side, 300 + left : 300 + left + side]
    assert (crop(film, box, side) == square).all()
    expected = Image.fromarray(film).crop(box).resize((size, size), Image.Resampling.BILINEAR)
    assert (crop(film, box, size) == np.asarray(expected)).all()


def test_a_square_that_pillow_takes_for_a_bomb_is_cropped_all_the_same() -> None:
    film = np.full((64, 14_000), 255, np.uint8)
    mask = np.ones((256, 256), bool)
    assert crop(film, lung_box(mask, film.shape), 64).max() > 0  # 196 megapixels


def test_the_margin_is_five_percent_in_all_half_of_it_on_each_side() -> None:
    assert lung_box(lungs(50, 40, 170, 160), (200, 200)) == Box(37, 47, 163, 173)
    assert lung_box(lungs(60, 60, 100, 100), (200, 200)) == Box(59, 59, 101, 101)


def test_without_margin_a_square_mask_is_its_own_box() -> None:
    assert lung_box(lungs(50, 40, 150, 140), (200, 200), margin=0) == Box(40, 50, 140, 150)


def test_the_short_side_is_lengthened_on_both_sides() -> None:
    assert lung_box(lungs(50, 80, 150, 120), (200, 200), margin=0) == Box(50, 50, 150, 150)


def test_the_mask_is_scaled_to_the_film_along_each_axis_of_its_own() -> None:
    squeezed = lungs(25, 25, 75, 75, (100, 100))
    assert lung_box(squeezed, (400, 1200), margin=0) == Box(300, -100, 900, 500)
    assert lung_box(squeezed, (1000, 1000), margin=0) == Box(250, 250, 750, 750)


@pytest.mark.parametrize(
    ("mask", "box"),
    [
        (lungs(50, 0, 150, 40), Box(0, 50, 100, 150)),
        (lungs(50, 160, 150, 200), Box(100, 50, 200, 150)),
        (lungs(0, 50, 40, 150), Box(50, 0, 150, 100)),
        (lungs(160, 50, 200, 150), Box(50, 100, 150, 200)),
    ],
)
def test_at_the_films_edge_the_square_is_shifted_inward_not_cut(mask: NDArray[np.bool_], box: Box) -> None:
    assert lung_box(mask, (200, 200), margin=0) == box


def test_a_square_larger_than_the_film_is_centred_and_filled_with_black() -> None:
    film = np.full((100, 300), 200, np.uint8)
    box = lung_box(lungs(0, 0, 100, 300, (100, 300)), (100, 300), margin=0)
    assert box == Box(0, -100, 300, 200)
    out = crop(film, box, 300)
    np.testing.assert_array_equal(out[100:200], film)
    assert not out[:100].any() and not out[200:].any()


@given(data=st.data(), height=st.integers(64, 3000), width=st.integers(64, 3000), margin=st.floats(0, 0.5))
@settings(max_examples=200, deadline=None)
def test_the_box_is_a_square_that_holds_the_lungs_and_leaves_the_film_only_where_it_must(
    data: st.DataObject, height: int, width: int, margin: float
) -> None:
    top, left = data.draw(st.integers(0, 90)), data.draw(st.integers(0, 90))
    bottom, right = data.draw(st.integers(top + 10, 100)), data.draw(st.integers(left + 10, 100))
    box = lung_box(lungs(top, left, bottom, right, (100, 100)), (height, width), margin)
    high, wide = (bottom - top) / 100 * height, (right - left) / 100 * width
    assert box.width == box.height == pytest.approx(max(high, wide) * (1 + margin), abs=0.5 + 1e-6)
    # Whole pixels round; with the margin of 5 % and a lung of 30 pixels, rounding can no longer reach the lung.
    slack = 0 if margin * max(high, wide) >= 1.5 else 1
    assert box.left <= left / 100 * width + slack and box.right >= right / 100 * width - slack
    assert box.top <= top / 100 * height + slack and box.bottom >= bottom / 100 * height - slack
    for start, end, limit in ((box.left, box.right, width), (box.top, box.bottom, height)):
        if end - start <= limit:
            assert start >= 0 and end <= limit
        else:
            assert start <= 0 and end >= limit and abs(-start - (end - limit)) <= 1


def test_an_empty_mask_has_no_box() -> None:
    with pytest.raises(ValueError, match="ask the verdict first"):
        lung_box(np.zeros((10, 10), bool), (100, 100))


def test_a_crop_of_the_boxs_own_size_is_the_films_own_pixels() -> None:
    film = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    np.testing.assert_array_equal(crop(film, Box(30, 10, 94, 74), 64), film[10:74, 30:94])


@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(40, 700),
    width=st.integers(40, 700),
    size=st.integers(32, 128),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_what_is_not_lung_is_exactly_black_on_the_film_and_in_its_crop(
    seed: int, height: int, width: int, size: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    gray = rng.integers(1, 256, (height, width), dtype=np.uint8)
    top, left = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 60))
    mask = lungs(top, left, top + data.draw(st.integers(10, 40)), left + data.draw(st.integers(10, 40)), (100, 100))
    mask &= rng.random(mask.shape) > data.draw(st.sampled_from([0, 0.2]))
    masked = lungs_only(gray, mask)
    assert masked.dtype == np.uint8 and masked.shape == gray.shape
    inside = lungs_only(np.full_like(gray, 255), mask)
    assert set(np.unique(inside)) <= {0, 255}
    np.testing.assert_array_equal(masked, np.where(inside == 255, gray, 0))
    other = np.where(inside == 255, gray, rng.integers(0, 256, gray.shape, dtype=np.uint8))
    np.testing.assert_array_equal(lungs_only(other, mask), masked)
    box = lung_box(mask, (height, width))
    # The crop of the mask bounds the crop of the film: no weight of the resampling is negative, so nothing rings.
    assert (crop(masked, box, size) <= crop(inside, box, size)).all()


def test_the_masks_border_follows_the_lung_and_not_the_masks_pixels() -> None:
    y, x = np.mgrid[0:64, 0:64]
    slanted = lungs_only(np.full((1024, 1024), 255, np.uint8), x > y / 3 + 16) > 0
    edge = slanted.argmax(axis=1)
    assert np.abs(edge - (np.arange(1024) / 3 + 16 * 16)).max() <= 16
    assert np.abs(np.diff(edge[100:900])).max() < 16  # nearest neighbours would jump by 1024 / 64


def test_a_mask_that_covers_the_film_changes_nothing() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (300, 200), dtype=np.uint8)
    np.testing.assert_array_equal(lungs_only(gray, np.ones((256, 256), bool)), gray)


def test_reduction_averages_what_it_leaves_out() -> None:
    checkered = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    reduced = crop(checkered, Box(0, 0, 512, 512), 64)
    assert reduced.dtype == np.uint8 and np.abs(reduced.astype(int) - 127).max() <= 4
