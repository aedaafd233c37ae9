"""Tubes and wires, in body coordinates. Whether a film has them depends on its zone scores only, never on the outcome itself."""

import numpy as np

from training.data.cohorts.phantom.anatomy import Anatomy
from training.data.cohorts.phantom.canvas import Canvas, Layer, Stroke, spline

CARINA = -0.30  # body y where the trachea divides


def tube(canvas: Canvas, anatomy: Anatomy) -> Layer:
    """Endotracheal tube: two faint walls with a bright stripe, ending above the carina."""
    x = anatomy.midline
    line = spline([(x * 0.6, -1.3), (x * 0.8 + 0.006, -0.9), (x, -0.6), (x, CARINA - 0.11)])
    walls = canvas.strokes([Stroke(line, 0.030), Stroke(line, 0.020, 0.25)])
    return 0.45 * walls + canvas.strokes([Stroke(line + np.array([0.008, 0]), 0.006)])


def central_line(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> Layer:
    """Catheter from the right neck or the left shoulder into the superior vena cava."""
    x = anatomy.midline - 0.10
    jugular = [(-0.22, -1.3), (-0.17, -0.9), (-0.14, -0.65), (x - 0.01, -0.4), (x, -0.10)]
    subclavian = [(0.75, -0.62), (0.5, -0.70), (0.2, -0.60), (-0.03, -0.50), (x, -0.36), (x, -0.08)]
    line = spline(jugular if rng.random() < 0.65 else subclavian)
    return canvas.strokes([Stroke(line + rng.normal(0, 0.01, 2), 0.011)])


def leads(canvas: Canvas, rng: np.random.Generator) -> Layer:
    """Three to five ECG electrodes with their wires, running off one side."""
    strokes: list[Stroke] = []
    off = rng.choice((-1, 1)) * 1.3
    exit_y = rng.uniform(-0.3, 0.9)
    spots = [(-0.55, -0.52), (0.55, -0.52), (-0.58, 0.42), (0.62, 0.40), (0.12, -0.05)]
    for x, y in spots[: rng.integers(3, 6)]:
        x, y = x + rng.normal(0, 0.06), y + rng.normal(0, 0.06)
        bend = ((x + off) / 2 + rng.normal(0, 0.1), (y + exit_y) / 2 + rng.normal(0, 0.2))
        strokes.append(Stroke(spline([(x, y), bend, (off, exit_y + rng.normal(0, 0.12))]), 0.0075, 0.55))
        ring = np.linspace(0, 2 * np.pi, 20)
        strokes.append(Stroke(np.column_stack([x + 0.019 * np.cos(ring), y + 0.019 * np.sin(ring)]), 0.012))
    return canvas.strokes(strokes)
