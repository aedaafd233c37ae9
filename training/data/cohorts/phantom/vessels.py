"""Lung vessels: trees that start at the hila, branch, taper and end before the pleura."""

import math

import numpy as np

from training.data.cohorts.phantom.anatomy import Anatomy
from training.data.cohorts.phantom.canvas import Canvas, Layer

_STEP = 0.038  # body units per segment
_FINEST = 0.0028  # width at which a branch ends
_TRUNKS = (-80, -62, -42, -22, -4, 14, 32, 50, 64, 76, 86)  # degrees below the horizontal, lateral positive


def hilum(anatomy: Anatomy, side: int) -> tuple[float, float]:
    """Where the vessels of one lung come from; the left one lies a little higher."""
    x = anatomy.midline + side * (0.165 if side > 0 else 0.16) * anatomy.width
    return x, (-0.14 if side > 0 else -0.10) * anatomy.height


def _tree(x: float, y: float, angle: float, width: float, side: int, rng: np.random.Generator) -> list[tuple[float, ...]]:
    """Segments (x, y, x, y, width) of one trunk with all its branches."""
    segments: list[tuple[float, ...]] = []
    open_ends = [(x, y, angle, width)]
    while open_ends:
        x, y, angle, width = open_ends.pop(0)
        *wobble, bend = rng.normal(0, 0.13, 33).tolist()
        forks = rng.uniform(-1, 1, (32, 2)).tolist()
        for turn, (fork, share) in zip(wobble, forks, strict=True):
            if width < _FINEST:
                break
            angle += 0.4 * bend + turn
            nx, ny = x + side * _STEP * math.cos(angle), y + _STEP * math.sin(angle)
            segments.append((x, y, nx, ny, width))
            x, y = nx, ny
            width *= 0.905
            if abs(fork) > 0.62:
                fork *= 0.7
                open_ends.append((x, y, angle + fork, width * (0.65 + 0.15 * share)))
                width *= 0.93
                angle -= fork * 0.25
    return segments


def vessels(canvas: Canvas, anatomy: Anatomy) -> Layer:
    """Vascular markings of both lungs, 0..1; the caller keeps what lies inside the lungs."""
    rng = np.random.default_rng(anatomy.seed)
    segments: list[tuple[float, ...]] = []
    for side in (-1, 1):
        x, y = hilum(anatomy, side)
        for degrees in _TRUNKS:
            angle = np.radians(degrees + rng.normal(0, 7))
            trunk = 0.036 if degrees > 40 else 0.026
            segments += _tree(x, y + 0.0012 * degrees, angle, trunk * rng.uniform(0.75, 1.1), side, rng)
    segments.sort(key=lambda segment: segment[4])  # wide vessels are drawn over narrow ones
    table = np.array(segments)
    return canvas.segments(table[:, :4], table[:, 4], np.minimum(1, 0.40 + table[:, 4] * 20))


def hila(canvas: Canvas, anatomy: Anatomy) -> Layer:
    """The soft knots of arteries and veins beside the heart."""
    layer = np.zeros((canvas.side, canvas.side), dtype=np.float32)
    for side in (-1, 1):
        x, y = hilum(anatomy, side)
        layer += 0.8 * canvas.bump(x, y, 0.036, 0.055) + 0.7 * canvas.bump(x + side * 0.035, y + 0.10, 0.024, 0.075)
        layer += 0.45 * canvas.bump(x + side * 0.045, y - 0.07, 0.032, 0.03)
    return layer
