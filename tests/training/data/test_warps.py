"""Two ways to carry out one variation, film by film and as a batch: equal grey levels; and the bits of a film are its own."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from training.data.film_warp import cubic_weights, warp_films
from training.data.tensor_warp import warp_batch
from training.data.variation import CONTROL, tone_tables, vary
from training.settings import Augmentation

STRONGEST = Augmentation(probability=1, shift=0.5, zoom=0.5, degrees=45, elastic=0.1, contrast=1, brightness=1)


def films(n: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Films with structure of some pixels, as films have it, over the whole range of grey."""
    rng = np.random.default_rng(seed)
    coarse = [
        cv2.resize(rng.uniform(0, 255, (size // 4 + 1,) * 2), (size, size), interpolation=cv2.INTER_LINEAR) for _ in range(n)
    ]
    return np.stack(coarse).astype(np.uint8)


def by_film(given: NDArray[np.uint8], keys: NDArray[np.uint64], seed: int, epoch: int, s: Augmentation) -> NDArray[np.float32]:
    out = np.full(given.shape, np.nan, np.float32)
    warp_films(given, vary(keys, seed, epoch, s), out)
    return out


@given(seed=st.integers(0, 2**31), size=st.sampled_from([31, 64, 97]), strong=st.booleans())
@settings(max_examples=25, deadline=None)
def test_films_warped_one_by_one_and_as_a_batch_have_equal_grey_levels(seed: int, size: int, strong: bool) -> None:
    given, keys, chosen = films(9, size, seed % 1000), np.arange(9, dtype=np.uint64), STRONGEST if strong else Augmentation()
    batch = warp_batch(torch.from_numpy(given)[:, None], vary(keys, seed, 1, chosen))[:, 0].numpy()
    apart = np.abs(by_film(given, keys, seed, 1, chosen) - batch)
    assert apart.mean() <= 0.05 and apart.max() <= 1


@given(order=st.permutations(range(11)), cut=st.integers(1, 11), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_films_bits_are_the_same_in_any_batch_and_any_order(order: list[int], cut: int, seed: int) -> None:
    given, keys = films(11, 48), np.arange(11, dtype=np.uint64)
    some = order[:cut]
    assert np.array_equal(
        by_film(given[some], keys[some], seed, 2, Augmentation()), by_film(given, keys, seed, 2, Augmentation())[some]
    )


@pytest.mark.long
def test_a_films_bits_do_not_depend_on_the_number_of_threads() -> None:
    code = (
        "import hashlib, numpy as np, torch\n"
        "from tests.training.data.test_warps import by_film, films\n"
        "from training.settings import Augmentation\n"
        "out = by_film(films(12, 224), np.arange(12, dtype=np.uint64), 1, 1, Augmentation(probability=1))\n"
        "print(hashlib.sha256(out.tobytes()).hexdigest())"
    )
    found = set()
    for threads in ("1", "2", "4"):
        environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        found.add(told.stdout)
    assert len(found) == 1


def test_every_pixel_of_the_buffer_is_written_whatever_was_in_it() -> None:
    assert np.isfinite(by_film(films(20, 40), np.arange(20, dtype=np.uint64), 0, 1, STRONGEST)).all()


def test_a_film_without_variation_stays_itself_to_the_bit() -> None:
    given = films(5, 33)
    off = Augmentation(probability=0, flip=False)
    assert np.array_equal(by_film(given, np.arange(5, dtype=np.uint64), 0, 1, off), given)


@pytest.mark.parametrize("size", [2, 31, 224])
def test_the_weights_of_control_points_are_those_of_torchs_bicubic_interpolation(size: int) -> None:
    theirs = functional.interpolate(torch.eye(CONTROL)[None, :, None], (1, size), mode="bicubic", align_corners=True)[0, :, 0].T
    np.testing.assert_allclose(cubic_weights(size), theirs.numpy(), atol=1e-5)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_tones_never_leave_the_range_and_darker_never_becomes_brighter(seed: int) -> None:
    tables = tone_tables(vary(np.arange(8, dtype=np.uint64), seed, 1, STRONGEST))
    assert tables.shape == (8, 256) and tables.min() >= 0 and tables.max() <= 255
    assert (np.diff(tables, axis=1) >= 0).all()
