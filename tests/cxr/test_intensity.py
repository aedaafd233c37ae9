"""Percentile normalisation: the same film in other units is the same bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr.errors import NoContrast
from cxr.intensity import SAMPLE, to_gray8
from tests.cxr.dicoms import phantom

FILM = phantom().astype(np.float32)


@given(scale=st.integers(1, 4_000), shift=st.integers(-100_000, 100_000))
@settings(max_examples=60, deadline=None)
def test_other_integer_units_give_the_same_bytes(scale: int, shift: int) -> None:
    np.testing.assert_array_equal(to_gray8(FILM * np.float32(scale) + np.float32(shift)), to_gray8(FILM))


@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from([np.uint8, np.uint16]), low=st.floats(0, 40), high=st.floats(60, 100))
@settings(max_examples=60, deadline=None)
def test_integers_as_they_are_stored_give_the_bytes_of_the_same_values_as_float32(
    seed: int, kind: type, low: float, high: float
) -> None:
    top = np.iinfo(kind).max
    film = np.random.default_rng(seed).integers(0, top, (300, 700), dtype=kind, endpoint=True)  # of several blocks
    np.testing.assert_array_equal(to_gray8(film, low, high), to_gray8(film.astype(np.float32), low, high))


@given(scale=st.floats(1e-3, 1e4), shift=st.floats(-1e3, 1e3))
@settings(max_examples=60, deadline=None)
def test_other_real_units_give_the_same_bytes_within_one_level(scale: float, shift: float) -> None:
    other = (FILM.astype(np.float64) * scale + shift).astype(np.float32)
    tolerance = 1 if abs(shift) < 1e3 * scale else 255 * abs(shift) * 2**-22 / scale / 200 + 1
    assert np.abs(to_gray8(other).astype(int) - to_gray8(FILM)).max() <= tolerance


@given(seed=st.integers(0, 2**32 - 1), low=st.floats(0, 40), high=st.floats(60, 100))
@settings(max_examples=60, deadline=None)
def test_order_is_kept_and_the_range_is_used(seed: int, low: float, high: float) -> None:
    film = np.random.default_rng(seed).normal(size=(70, 90)).astype(np.float32)
    gray = to_gray8(film, low, high)
    assert gray.dtype == np.uint8 and gray.shape == film.shape
    assert (gray.min(), gray.max()) == (0, 255)
    assert np.all(np.diff(gray.ravel()[np.argsort(film, axis=None)].astype(int)) >= 0)


def test_a_burnt_in_letter_and_a_dead_pixel_do_not_darken_the_film() -> None:
    marked = FILM.copy()
    marked[2:8, 2:8] = 65_535
    marked[40, 40] = -65_535
    difference = np.abs(to_gray8(marked).astype(int) - to_gray8(FILM))
    difference[2:8, 2:8] = difference[40, 40] = 0
    assert difference.max() <= 8


@pytest.mark.parametrize("value", [0, 255, -1024.5])
def test_a_film_without_contrast_is_refused(value: float) -> None:
    with pytest.raises(NoContrast, match="same value"):
        to_gray8(np.full((80, 96), value, dtype=np.float32))


def test_a_black_film_with_a_label_has_no_contrast() -> None:
    film = np.zeros((200, 200), dtype=np.float32)
    film[:10, :20] = 255
    with pytest.raises(NoContrast):
        to_gray8(film)


def test_a_large_film_is_sampled_and_close_to_the_whole() -> None:
    film = np.random.default_rng(5).normal(size=(1_500, 1_400)).astype(np.float32)
    assert film.size > 4 * SAMPLE
    gray = to_gray8(film)
    np.testing.assert_array_equal(gray, to_gray8(film.copy()))
    black, white = np.percentile(film, [1, 99])
    whole = np.rint(np.clip((film - black) / (white - black), 0, 1) * 255)
    assert np.abs(gray - whole).max() <= 4


def test_percentiles_in_the_wrong_order_are_a_mistake_of_the_caller() -> None:
    for low, high in ((99.0, 1.0), (5.0, 5.0), (-1.0, 50.0), (1.0, 101.0)):
        with pytest.raises(ValueError, match="0 <= low < high <= 100"):
            to_gray8(FILM, low, high)
