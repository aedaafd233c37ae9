"""Augmentation belongs to (seed, epoch, sample) and to nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.cxr.dicoms import phantom
from training.data.film_warp import warp_films
from training.data.samples import sample_key
from training.data.variation import uniforms, vary
from training.settings import Augmentation

OFF = Augmentation(probability=0, flip=False)
ALWAYS = {"probability": 1.0, "shift": 0, "zoom": 0, "degrees": 0, "flip": False, "elastic": 0, "contrast": 0, "brightness": 0}
N = 19
KEYS = np.array([sample_key(f"film {i}") for i in range(N)], dtype=np.uint64)


def augment(films: torch.Tensor, keys: NDArray[np.uint64], seed: int, epoch: int, chosen: Augmentation) -> torch.Tensor:
    """Films (B, 1, S, S) uint8 → (B, 1, S, S) float32 in 0..255, as a training on a CPU is given them."""
    out = torch.empty(films.shape, dtype=torch.float32)
    warp_films(films[:, 0].numpy(), vary(keys, seed, epoch, chosen), out[:, 0].numpy())
    return out


def chest(size: int = 32) -> torch.Tensor:
    return torch.from_numpy(phantom(size, size))[None, None]


def many(n: int = N, size: int = 32) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (n, 1, size, size), dtype=np.uint8))


def only(**strength: object) -> Augmentation:
    return Augmentation(**(ALWAYS | strength))


@given(order=st.permutations(range(N)), cut=st.integers(1, N))
@settings(max_examples=25, deadline=None)
def test_order_batch_size_and_chunk_do_not_change_a_sample(order: list[int], cut: int) -> None:
    films = many()
    whole = augment(films, KEYS, 3, 5, Augmentation())
    some = order[:cut]
    assert torch.equal(augment(films[some], KEYS[some], 3, 5, Augmentation()), whole[some])


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_equal_seed_epoch_and_key_are_equal_to_the_bit_and_any_other_differs(seed: int, epoch: int) -> None:
    films, keys = chest().expand(4, -1, -1, -1), KEYS[:4]
    first = augment(films, keys, seed, epoch, Augmentation())
    torch.manual_seed(seed + 1)
    np.random.seed(1)
    assert torch.equal(augment(films, keys, seed, epoch, Augmentation()), first)
    for other in (augment(films, keys, seed + 1, epoch, Augmentation()), augment(films, keys, seed, epoch + 1, Augmentation())):
        assert not torch.equal(other, first)


def test_every_sample_of_a_batch_of_equal_films_differs() -> None:
    varied = augment(chest().expand(N, -1, -1, -1), KEYS, 0, 0, only(shift=0.1, degrees=10, elastic=0.02, contrast=0.2))
    assert len({film.numpy().tobytes() for film in varied}) == N


def test_about_half_of_the_films_get_each_variation() -> None:
    keys = np.arange(600, dtype=np.uint64)
    films = chest(8).expand(600, -1, -1, -1)
    plain = films[0].float()
    for strength in ({"zoom": 0.2}, {"degrees": 20}, {"elastic": 0.1}, {"contrast": 0.5}, {"brightness": 0.5}):
        varied = augment(films, keys, 0, 0, only(**strength, probability=0.5))
        changed = ((varied - plain).abs().amax(dim=(1, 2, 3)) > 0.02).float().mean().item()
        assert 0.42 < changed < 0.56, strength
    mirrored = augment(films, keys, 0, 0, only(flip=True)) - plain
    assert 0.42 < (mirrored.abs().amax(dim=(1, 2, 3)) > 1).float().mean().item() < 0.58
    along_x, along_y = (np.abs(centroids(only(shift=0.2, probability=0.5), n=600)) > 0.01).T
    assert 0.42 < along_x.mean() < 0.58 and 0.42 < along_y.mean() < 0.58


@pytest.mark.parametrize("nothing", [OFF, only()], ids=["never applied", "no strength"])
@pytest.mark.parametrize("size", [31, 32, 64])
def test_without_probability_or_strength_a_film_stays_itself(nothing: Augmentation, size: int) -> None:
    films = many(5, size)
    torch.testing.assert_close(augment(films, KEYS[:5], 0, 1, nothing), films.float(), atol=0.05, rtol=0)


def test_flipping_mirrors_left_and_right_and_nothing_else() -> None:
    films = many()
    varied = augment(films, KEYS, 0, 1, only(flip=True))
    mirrored = torch.flip(films, dims=[3]).float()
    kinds = []
    for film, plain, mirror in zip(varied, films.float(), mirrored, strict=True):
        kinds.append(torch.allclose(film, mirror, atol=0.05))
        assert kinds[-1] or torch.allclose(film, plain, atol=0.05)
    assert {True, False} == set(kinds)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_values_stay_in_range_and_shape_at_the_largest_strengths(seed: int) -> None:
    strongest = Augmentation(probability=1, shift=0.5, zoom=0.5, degrees=45, flip=True, elastic=0.1, contrast=1, brightness=1)
    films = many()
    varied = augment(films, KEYS, seed, 0, strongest)
    assert varied.shape == films.shape and varied.dtype == torch.float32
    assert varied.min() >= 0 and varied.max() <= 255 and torch.isfinite(varied).all()


def centroids(strengths: Augmentation, n: int = 200) -> NDArray[np.float64]:
    """Where a bright disc in the middle goes, in pixels of 64 from the centre (N, 2) as (x, y)."""
    y, x = np.mgrid[:64, :64] - 31.5
    disc = torch.from_numpy(((x**2 + y**2 < 64) * 255).astype(np.uint8))[None, None]
    varied = augment(disc.expand(n, -1, -1, -1), np.arange(n, dtype=np.uint64), 0, 0, strengths).numpy()[:, 0]
    weight = varied.sum(axis=(1, 2))
    return np.stack([(varied * x).sum(axis=(1, 2)) / weight, (varied * y).sum(axis=(1, 2)) / weight], axis=1)


def test_a_shift_is_a_share_of_the_side_in_both_directions_of_both_axes() -> None:
    moved = centroids(only(shift=0.1))
    assert np.abs(moved).max() <= 6.4 + 0.1
    assert (moved.max(axis=0) > 5.5).all() and (moved.min(axis=0) < -5.5).all()
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.2


def test_a_zoom_changes_the_area_by_its_square_and_keeps_the_middle() -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    disc = torch.from_numpy(((x**2 + y**2 < 100) * 255).astype(np.uint8))[None, None]
    varied = augment(disc.expand(200, -1, -1, -1), np.arange(200, dtype=np.uint64), 0, 0, only(zoom=0.2)).double()
    side = (varied.sum(dim=(1, 2, 3)) / disc.double().sum()).sqrt().numpy()
    assert 0.79 < side.min() < 0.83 and 1.17 < side.max() < 1.21
    assert np.abs(centroids(only(zoom=0.2))).max() < 0.1


def test_uniforms_are_uniform_and_their_draws_unrelated() -> None:
    drawn = uniforms(1, 2, np.arange(2000, dtype=np.uint64), 20)
    assert drawn.shape == (2000, 20) and drawn.min() >= 0 and drawn.max() < 1
    np.testing.assert_allclose(drawn.mean(axis=0), 0.5, atol=0.03)
    np.testing.assert_allclose(drawn.var(axis=0), 1 / 12, atol=0.01)
    related = np.corrcoef(drawn.T) - np.eye(20)
    assert np.abs(related).max() < 0.1
    assert np.abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.07


def test_the_numbers_are_the_same_on_every_machine_and_release() -> None:
    pinned = (0.8293128451817775, 0.9157848441478085, 0.49916405532281527)  # of the same hash in Python's own integers
    np.testing.assert_array_equal(uniforms(7, 3, np.array([11], dtype=np.uint64), 3), [pinned])
