"""A variation carried out film by film with OpenCV, for the CPU: all of a film's pixels stay in the cache, and nothing is allocated.

Sums and roundings are those of one film alone, so the bits are the same in any batch, order or thread.
"""

from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.variation import CONTROL, Variation, tone_tables

_INVERSE = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # the matrix leads from the result to the film, as a Variation does
_SHARPNESS = -0.75  # of the cubic convolution, as in torch and OpenCV


def warp_films(films: Iterable[NDArray[np.uint8]], variation: Variation, out: NDArray[np.float32]) -> None:
    """Each film (S, S) uint8 → its place in `out` (n, S, S) float32, 0..255; outside of a film is its black."""
    cv2.setNumThreads(0)  # a film is too small to share, and OpenCV's threads would fight with torch's for the cores
    side = out.shape[-1]
    middle = (side - 1) / 2
    shift = variation.shift * side
    offsets = shift + middle - middle * variation.linear.sum(axis=2)  # of pixel (0, 0)
    matrices = np.concatenate([variation.linear, offsets[:, :, None]], axis=2)  # (n, 2, 3)
    moved = variation.elastic | np.any(matrices != np.eye(2, 3), axis=(1, 2))
    tones = tone_tables(variation)
    toned, places = np.empty((side, side), np.float32), np.empty((2, side, side), np.float32)  # used again for every film
    for i, film in enumerate(films):
        if not moved[i]:
            cv2.LUT(film, tones[i], dst=out[i])
            continue
        cv2.LUT(film, tones[i], dst=toned)
        black = float(tones[i, 0])
        if variation.elastic[i]:
            _place(matrices[i], variation.control[i] * side, places)
            cv2.remap(toned, *places, cv2.INTER_LINEAR, dst=out[i], borderMode=cv2.BORDER_CONSTANT, borderValue=black)
        else:
            cv2.warpAffine(toned, matrices[i], (side, side), dst=out[i], flags=_INVERSE, borderValue=black)


def _place(matrix: NDArray[np.float64], control: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Where every pixel is taken from, (2, S, S) in pixels as x and y: affine part and elastic field in one product each."""
    left, right = _bases(out.shape[-1])
    inner = np.zeros((2, CONTROL + 2, CONTROL + 2))
    inner[:, :CONTROL, :CONTROL] = control
    inner[:, CONTROL, CONTROL:] = matrix[:, [0, 2]]  # · column and · 1
    inner[:, CONTROL + 1, CONTROL + 1] = matrix[:, 1]  # · row
    np.matmul(left, np.matmul(inner, right).astype(np.float32), out=out)


@lru_cache(maxsize=4)
def _bases(side: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """(side, 8) of rows: cubic weights, 1, row; (8, side) of columns: cubic weights, column, 1."""
    cubic, places, ones = cubic_weights(side), np.arange(side, dtype=np.float64), np.ones(side)
    left = np.column_stack([cubic, ones, places]).astype(np.float32)
    return np.ascontiguousarray(left), np.vstack([cubic.T, places, ones])


def cubic_weights(side: int) -> NDArray[np.float64]:
    """(side, 6): how much each control point counts at each pixel. Cubic convolution; beyond the ends the end point stands again."""
    weights = np.zeros((side, CONTROL))
    places = np.arange(side) * (CONTROL - 1) / max(side - 1, 1)
    first = np.floor(places).astype(int)
    for step in (-1, 0, 1, 2):
        away = np.abs(places - (first + step))
        near = ((_SHARPNESS + 2) * away - (_SHARPNESS + 3)) * away**2 + 1
        far = ((_SHARPNESS * away - 5 * _SHARPNESS) * away + 8 * _SHARPNESS) * away - 4 * _SHARPNESS
        np.add.at(weights, (np.arange(side), np.clip(first + step, 0, CONTROL - 1)), np.where(away <= 1, near, far))
    return weights
