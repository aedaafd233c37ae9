"""What the input gate measures of a film: some thirty numbers of its lung mask, its gray values and its likeness to a chest.

Everything is taken from a thinned film of a few hundred pixels a side, so it costs about a millisecond whatever the film's size.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Numbers = NDArray[np.float64]
REVISION = 1  # raise it when the same film gives other numbers: gates fitted before no longer apply
SIDE = 16  # of the small pictures that are compared with the average film
FINE, COARSE = 128, 32  # sides of the pictures on which gray statistics are taken

MASK_NAMES = (
    "lung area", "segmentation certainty", "segmentation doubt", "difference of lung areas", "shape of the lungs' box",
    "lungs across the film", "lungs down the film", "mirror symmetry of the mask", "fill of the lungs' box",
    "difference of lung levels", "difference of lung heights", "upright left half", "upright right half",
)  # fmt: skip
GRAY_NAMES = (
    "darkness of the lungs", "brightness between the lungs", "brightness", "contrast", "share of black", "share of white",
    "brightness of the border", "brightness of the upper corners", "mirror symmetry", "fine detail", "coarse detail",
    "direction of detail", "brightness from top to bottom",
)  # fmt: skip
LIKENESS_NAMES = ("likeness of the chest", "residue of the chest", "likeness of the film", "residue of the film")
NAMES = MASK_NAMES + GRAY_NAMES + LIKENESS_NAMES


class Seen(NamedTuple):
    """A film as the segmenter saw it: `gray` (H, W) uint8, `probability` of lung and the cleaned mask `lungs`, both (256, 256)."""

    gray: NDArray[np.uint8]
    probability: NDArray[np.float32]
    lungs: NDArray[np.bool_]


class Measured(NamedTuple):
    """`numbers` in the order of MASK_NAMES + GRAY_NAMES; `chest` (the lungs' box) and `film` as SIDE² gray values of mean 0 and
    length 1, which only a fitted gate can judge."""

    numbers: Numbers
    chest: Numbers
    film: Numbers


def measure(seen: Seen) -> Measured:
    """Numbers of a film with lungs (a mask that is empty cannot be measured)."""
    thin = _thinned(seen.gray)
    fine = _shrunk(thin, FINE)
    top, bottom, left, right = _bounds(seen.lungs)
    across, down = thin.width / seen.lungs.shape[1], thin.height / seen.lungs.shape[0]
    chest = thin.resize((SIDE, SIDE), Image.Resampling.BOX, (left * across, top * down, right * across, bottom * down))
    numbers = [*_of_mask(seen), *_of_gray(fine, seen.lungs)]
    return Measured(np.array(numbers), unit(np.asarray(chest, dtype=np.float64)), unit(_shrunk(thin, SIDE)))


def unit(picture: Numbers) -> Numbers:
    """Any shape → its values with mean 0 and length 1, flat; an even picture stays 0."""
    centred = picture.ravel() - picture.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-9))


def _thinned(gray: NDArray[np.uint8]) -> Image.Image:
    step = max(1, min(gray.shape) // (2 * FINE))
    return Image.fromarray(np.ascontiguousarray(gray[::step, ::step]))


def _shrunk(picture: Image.Image, side: int) -> Numbers:
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=np.float64) / 255


def _bounds(lungs: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(lungs.any(axis=1)), np.flatnonzero(lungs.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _of_mask(seen: Seen) -> list[float]:
    lungs, probability = seen.lungs, seen.probability
    height, width = lungs.shape
    top, bottom, left, right = _bounds(lungs)
    box, area = lungs[top:bottom, left:right], float(lungs.mean())
    middle = (right - left) // 2
    halves = [_shape(box[:, :middle]), _shape(box[:, middle:])]
    doubtful = float(((probability > 0.1) & (probability < 0.9)).mean())
    aspect = (right - left) / width * seen.gray.shape[1] / ((bottom - top) / height * seen.gray.shape[0])
    return [
        np.log(area),
        float(np.abs(2 * probability - 1).mean()),
        np.log(doubtful / area + 1e-3),
        abs(np.log((halves[0].area + 10) / (halves[1].area + 10))),
        np.log(aspect),
        (left + right) / 2 / width,
        (top + bottom) / 2 / height,
        float((box & box[:, ::-1]).sum() / (box | box[:, ::-1]).sum()),
        float(box.mean()),
        abs(halves[0].level - halves[1].level) / height,
        abs(np.log((halves[0].height + 5) / (halves[1].height + 5))),
        halves[0].upright,
        halves[1].upright,
    ]


class _Shape(NamedTuple):
    area: int
    level: float  # row of its centre
    height: int
    upright: float  # log of the variance down over the variance across


def _shape(half: NDArray[np.bool_]) -> _Shape:
    y, x = np.nonzero(half)
    if len(y) < 2:
        return _Shape(len(y), half.shape[0] / 2, 0, 0.0)
    return _Shape(len(y), float(y.mean()), int(np.ptp(y)) + 1, float(np.log((y.var() + 1) / (x.var() + 1))))


def _of_gray(fine: Numbers, lungs: NDArray[np.bool_]) -> list[float]:
    """`fine` (FINE, FINE) in [0, 1]."""
    step = lungs.shape[0] // FINE
    inside = lungs[step // 2 :: step, step // 2 :: step]
    top, bottom, left, right = (edge // step for edge in _bounds(lungs))
    box = np.zeros_like(inside)
    box[top : bottom + 1, left : right + 1] = True
    middle, third = (left + right) // 2, (bottom - top) // 3
    strip = fine[top + third : bottom + 1, max(middle - 6, 0) : middle + 6]
    lung = float(fine[inside].mean()) if inside.any() else 0.5
    around = float(fine[box & ~inside].mean()) if (box & ~inside).any() else 0.5
    edge, corner = 3, FINE // 8
    border = np.concatenate([fine[:edge].ravel(), fine[-edge:].ravel(), fine[:, :edge].ravel(), fine[:, -edge:].ravel()])
    corners = np.concatenate([fine[:corner, :corner], fine[:corner, -corner:]])
    coarse = fine.reshape(COARSE, FINE // COARSE, COARSE, FINE // COARSE).mean(axis=(1, 3))
    down, across = np.abs(np.diff(fine, axis=0)).mean(), np.abs(np.diff(fine, axis=1)).mean()
    return [
        lung - around,
        float(strip.mean()) - lung,
        float(fine.mean()),
        float(fine.std()),
        float((fine < 0.03).mean()),
        float((fine > 0.97).mean()),
        float(border.mean()),
        float(corners.mean()),
        float(unit(coarse) @ unit(coarse[:, ::-1])),
        np.log(down + across + 1e-3),
        np.log(np.abs(np.diff(coarse, axis=0)).mean() + np.abs(np.diff(coarse, axis=1)).mean() + 1e-3),
        np.log((down + 1e-4) / (across + 1e-4)),
        float(fine[-FINE // 4 :].mean() - fine[: FINE // 4].mean()),
    ]
