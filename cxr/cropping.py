"""Lung mask → square box → crop, with the lungs alone or all around them. Boxes are in pixels of the film they were found on."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Box(NamedTuple):
    """Half-open rectangle in pixels: columns [left, right), rows [top, bottom).

    It may reach over the film's edge where a square that holds the lungs does not fit on it.
    """

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


def lung_box(mask: NDArray[np.bool_], shape: tuple[int, int], margin: float = 0.05) -> Box:
    """Cleaned mask (any size) → square box on a film of `shape` (H, W).

    The rectangle of the mask is scaled to the film, widened by `margin` of its width and height in all (half on each side, as the
    authors do), squared by lengthening its short side with real pixels on both sides, and shifted inward at the film's edges.
    A square larger than the film stays centred and is filled with black by `crop`: stretching would change the lungs' shape.
    """
    height, width = shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise ValueError("an empty mask has no box: ask the verdict first")
    y0, y1 = rows[0] * height / mask.shape[0], (rows[-1] + 1) * height / mask.shape[0]
    x0, x1 = columns[0] * width / mask.shape[1], (columns[-1] + 1) * width / mask.shape[1]
    side = max((x1 - x0) * (1 + margin), (y1 - y0) * (1 + margin))
    edge = max(1, round(side))
    left = _slide(round((x0 + x1 - edge) / 2), edge, width)
    top = _slide(round((y0 + y1 - edge) / 2), edge, height)
    return Box(left, top, left + edge, top + edge)


def _slide(start: int, length: int, limit: int) -> int:
    """Shift [start, start + length) into [0, limit); centre it where it does not fit."""
    if length > limit:
        return (limit - length) // 2
    return min(max(start, 0), limit - length)


def lungs_only(gray: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Film (H, W) uint8 and cleaned mask (any size) → the film with every pixel outside the mask exactly 0.

    The mask is enlarged linearly and cut at one half: its border is then straight where nearest neighbours would leave steps of
    as many pixels as the film is larger than the mask. Linear weights cannot overshoot, so nothing rings outside it.
    """
    height, width = gray.shape
    drawn = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    inside = np.asarray(drawn.resize((width, height), Image.Resampling.BILINEAR)) >= 128
    return np.where(inside, gray, np.uint8(0))


def crop(gray: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """Film (H, W) uint8 → (size, size) uint8: the box, antialiased (bilinear with support scaled to the reduction)."""
    film = Image.fromarray(gray)
    left, top = max(box.left, 0), max(box.top, 0)
    cut = film.crop((left, top, max(left, min(box.right, film.width)), max(top, min(box.bottom, film.height))))
    if cut.size != (box.width, box.height):  # black around it; by `crop` itself, Pillow takes a large square for a bomb
        square = Image.new("L", (box.width, box.height))
        square.paste(cut, (left - box.left, top - box.top))
        cut = square
    return np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=None), dtype=np.uint8)
