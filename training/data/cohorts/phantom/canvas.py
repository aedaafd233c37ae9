"""A square sheet in body coordinates to draw anatomy on.

Body coordinates: x in −1.15..1.15 from the patient's right (image left) to the left, y in −1.15..1.15 from head to feet; the
lungs span about ±0.75. Layers are float32 arrays (side, side).
Strokes are drawn at twice the resolution and averaged, for smooth edges.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Layer = NDArray[np.float32]
Points = NDArray[np.float64]

HALF = 1.15  # body units from the middle of the sheet to its edge


def spline(points: object, steps: int = 10) -> Points:
    """Smooth open curve (Catmull-Rom) through points (n, 2) → ((n − 1)·steps + 1, 2)."""
    p = np.asarray(points, dtype=np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.vstack([curve.reshape(-1, 2), p[-2]])


def _ribbon(points: Points, width: float) -> Points:
    """Outline of a line of some width: down one side and back along the other."""
    along = np.empty_like(points)
    along[1:-1] = points[2:] - points[:-2]
    along[0], along[-1] = points[1] - points[0], points[-1] - points[-2]
    aside = along[:, ::-1] * (-width / 2, width / 2) / np.hypot(along[:, :1], along[:, 1:])
    return np.vstack([points + aside, (points - aside)[::-1]])


@dataclass(frozen=True)
class Stroke:
    """A line through points (n, 2), `width` in body units, `value` 0..1."""

    points: Points
    width: float
    value: float = 1.0


@dataclass(frozen=True)
class Canvas:
    """`side` pixels on HALF·2 body units."""

    side: int

    @cached_property
    def x(self) -> Layer:
        """Body x of every column, shape (1, side)."""
        centres = (np.arange(self.side) + 0.5) / self.side * 2 * HALF - HALF
        return centres.astype(np.float32)[None, :]

    @cached_property
    def y(self) -> Layer:
        """Body y of every row, shape (side, 1)."""
        return self.x.T

    def length(self, units: float) -> float:
        """Body units → pixels."""
        return units * self.side / (2 * HALF)

    def polygon(self, points: Points) -> Layer:
        """Inside of a closed outline, 0..1."""
        sheet = Image.new("L", (2 * self.side, 2 * self.side))
        ImageDraw.Draw(sheet).polygon(self._pixels(points), fill=255)
        return self._averaged(sheet)

    def strokes(self, strokes: Iterable[Stroke]) -> Layer:
        """Lines, later ones over earlier ones, 0..1. Lines finer than a pixel become fainter instead."""
        sheet = Image.new("L", (2 * self.side, 2 * self.side))
        pen = ImageDraw.Draw(sheet)
        for stroke in strokes:
            width = self.length(stroke.width) * 2
            fill = round(255 * stroke.value * min(1.0, width))
            if width > 4:
                pen.polygon(self._pixels(_ribbon(stroke.points, stroke.width)), fill=fill)
            else:
                pen.line(self._pixels(stroke.points), fill=fill, width=max(1, round(width)))
        return self._averaged(sheet)

    def segments(self, ends: Points, widths: Points, values: Points) -> Layer:
        """Many short straight strokes: ends (n, 4) as x, y, x, y; widths (n,) in body units; values (n,) 0..1."""
        sheet = Image.new("L", (2 * self.side, 2 * self.side))
        pen = ImageDraw.Draw(sheet)
        pixels = ((ends + HALF) * (self.side / HALF)).tolist()
        across = self.length(1.0) * 2 * widths
        fills = np.rint(255 * values * np.minimum(1, across)).astype(int).tolist()
        for line, fill, width in zip(pixels, fills, np.maximum(1, np.rint(across)).astype(int).tolist(), strict=True):
            pen.line(line, fill=fill, width=width)
        return self._averaged(sheet)

    def halved(self, layer: Layer) -> Layer:
        """A layer at half the resolution, for what is smooth anyway."""
        return np.asarray(Image.fromarray(layer).reduce(2))

    def bump(self, x: float, y: float, rx: float, ry: float) -> Layer:
        """A soft spot of height 1 with standard deviations rx and ry in body units."""
        return np.exp(-(((self.x - x) / rx) ** 2) / 2) * np.exp(-(((self.y - y) / ry) ** 2) / 2)

    def blurred(self, layer: Layer, units: float) -> Layer:
        """Gaussian blur; a wide one is computed on a quarter of the pixels per side, which nobody can see."""
        sigma = self.length(units)
        if sigma < 4:
            return np.asarray(ndimage.gaussian_filter(layer, sigma, truncate=3.0))
        return self.enlarged(np.asarray(ndimage.gaussian_filter(self._quarter(layer), sigma / 4, truncate=3.0)))

    def depth(self, mask: Layer, reach: float) -> Layer:
        """Thickness of a rounded body seen from the front: 0 at the outline, 1 from `reach` body units inwards."""
        inside = np.asarray(ndimage.distance_transform_edt(self._quarter(mask) > 0.5), dtype=np.float32)
        inward = np.minimum(inside * 4 / self.length(reach), 1.0)
        rounded = np.sqrt(np.maximum(0.0, 1 - (1 - inward) ** 2)).astype(np.float32)
        return np.clip(self.enlarged(np.asarray(ndimage.gaussian_filter(rounded, 1.0))), 0, 1)

    def cloud(self, cells: int, rng: np.random.Generator) -> Layer:
        """Smooth noise of mean 0 and standard deviation about 1 with `cells` bumps per side."""
        grid = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
        return self.enlarged(grid) * np.float32(1.35)

    def enlarged(self, grid: Layer) -> Layer:
        """A coarse layer brought to the side of the canvas (bicubic)."""
        return np.asarray(Image.fromarray(grid).resize((self.side, self.side), Image.Resampling.BICUBIC))

    def _quarter(self, layer: Layer) -> Layer:
        return np.asarray(Image.fromarray(layer).reduce(4))

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        return [(x, y) for x, y in ((points + HALF) * (self.side / HALF)).tolist()]

    def _averaged(self, sheet: Image.Image) -> Layer:
        return np.asarray(sheet.reduce(2), dtype=np.float32) / np.float32(255)
