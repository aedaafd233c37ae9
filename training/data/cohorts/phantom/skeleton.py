"""Bones as layers of relative attenuation 0..1: ribs, clavicles, scapulae with the humeral head, spine."""

import numpy as np

from training.data.cohorts.phantom.anatomy import Anatomy
from training.data.cohorts.phantom.canvas import HALF, Canvas, Layer, Points, Stroke, spline

_PAIRS = 10
_CORTEX = 0.011  # thickness of the bright edge of a bone, body units


def posterior_rib(anatomy: Anatomy, side: int, k: int) -> Points:
    """Rib k (0 is the first) from the spine to the chest wall: rises a little, then falls, and meets the wall vertically."""
    t = np.linspace(0, 1, 26)
    start = (-0.80 + 0.128 * k * anatomy.ribs) * anatomy.height
    drop = 0.10 + 0.021 * k + 0.05 * (anatomy.ribs - 1)
    wall = anatomy.lateral(side, start + drop * 0.8) + 0.012
    x = 0.055 + (wall - 0.055) * np.sin(t * np.pi / 2)
    y = start - (0.035 + 0.002 * k) * np.sin(np.pi * t**0.8) + drop * t**2.4
    return np.column_stack([side * x + anatomy.midline, y])


def anterior_rib(anatomy: Anatomy, side: int, k: int) -> Points:
    """The same rib from the wall forwards and down towards its cartilage, which does not show."""
    u = np.linspace(0, 1, 20)
    wall = posterior_rib(anatomy, side, k)[-1]
    reach = abs(wall[0] - anatomy.midline)
    x = reach - (reach - 0.20 - 0.02 * k) * (1 - np.cos(u * np.pi / 2))
    y = wall[1] + (0.21 + 0.012 * k) * np.sin(u * np.pi / 2) ** 1.2
    return np.column_stack([side * x + anatomy.midline, y])


def _tube(points: Points, width: float, core: float = 0.55) -> list[Stroke]:
    """A bone seen from the side of its length: bright cortex, paler marrow."""
    return [Stroke(points, width), Stroke(points, width - 2 * _CORTEX, core)]


def ribs(canvas: Canvas, anatomy: Anatomy) -> tuple[Layer, Layer]:
    """Posterior ribs, and anterior ribs faded towards their cartilage."""
    back: list[Stroke] = []
    front: list[Stroke] = []
    for side in (-1, 1):
        for k in range(_PAIRS):
            back += _tube(posterior_rib(anatomy, side, k), 0.046 + 0.0012 * k)
            if k < 7:
                front += _tube(anterior_rib(anatomy, side, k), 0.05, 0.7)
    fade = np.clip((np.abs(canvas.x - np.float32(anatomy.midline)) - 0.20) / 0.35, 0, 1)
    return canvas.strokes(back), canvas.strokes(front) * fade


def clavicles(canvas: Canvas, anatomy: Anatomy) -> Layer:
    """From the sternum to the shoulder in a shallow S."""
    strokes: list[Stroke] = []
    for side in (-1, 1):
        lift = 0.05 * anatomy.arms
        wide = anatomy.side_width(side)
        line = spline([(0.06, -0.585), (0.18, -0.635), (0.36, -0.70), (0.56, -0.755 - lift), (0.76, -0.765 - 1.6 * lift)])
        line = np.column_stack([side * line[:, 0] * wide + anatomy.midline * 1.5, line[:, 1] * anatomy.height])
        strokes += _tube(line, 0.058, 0.6)
        strokes += [Stroke(line[:6], 0.075, 0.75)]
    return canvas.strokes(strokes)


def shoulders(canvas: Canvas, anatomy: Anatomy) -> Layer:
    """Blade of the scapula (its medial edge crosses the lateral lung), glenoid, humeral head and shaft."""
    layer = np.zeros((canvas.side, canvas.side), dtype=np.float32)
    for side in (-1, 1):
        wide = anatomy.side_width(side)
        out = 0.10 * anatomy.arms  # arms rolled forwards carry the blades off the lungs
        blade = spline([(0.63, -0.66), (0.57, -0.45), (0.59, -0.22), (0.65, 0.0), (0.73, -0.14), (0.83, -0.40), (0.86, -0.58)])
        blade = np.column_stack([side * (blade[:, 0] + out) * wide, blade[:, 1] * anatomy.height])
        head = np.array([side * (0.945 + 0.5 * out) * wide, -0.615 * anatomy.height])
        shaft = spline(head + np.array([(0, 0), (side * 0.07, 0.18), (side * 0.13, 0.5), (side * 0.17, 1.1)]))
        edge = canvas.strokes([Stroke(blade, 0.014), *_tube(shaft, 0.105, 0.6)])
        layer += 0.22 * canvas.polygon(blade) + 0.5 * edge
        layer += 0.6 * np.clip(canvas.bump(float(head[0]), float(head[1]), 0.062, 0.066) * 2.2, 0, 1)
    return layer


def spine(canvas: Canvas, anatomy: Anatomy) -> Layer:
    """Vertebral bodies with paler discs between them, pedicles as small rings, and the row of spinous processes."""
    y = canvas.y
    middle = anatomy.midline * 0.5 + np.float32(anatomy.scoliosis) * np.sin(2.2 * y + 0.6)
    offset = np.abs(canvas.x - middle)
    half = 0.066 + 0.014 * np.clip((y + 0.8) / 1.6, 0, 1)
    column = 1 / (1 + np.exp(np.clip((offset - half) / 0.009, -40, 40)))
    pitch = 0.112 + 0.009 * (y + HALF)
    phase = np.cumsum(np.full_like(y, 2 * HALF / canvas.side) / pitch, axis=0) % 1
    disc = np.exp(-(((phase - 0.5) / 0.09) ** 2) / 2)
    pedicle = np.exp(-(((phase - 0.18) / 0.11) ** 2) / 2) * np.exp(-(((offset - 0.043) / 0.011) ** 2) / 2)
    process = np.exp(-((offset / 0.012) ** 2) / 2) * np.exp(-(((phase - 0.85) / 0.13) ** 2) / 2)
    rim = np.exp(-(((offset - half + 0.008) / 0.008) ** 2) / 2) * (1 - disc)
    bones = column * (0.75 - 0.2 * disc) + 0.16 * pedicle + 0.22 * process + 0.12 * rim
    return np.asarray(bones, dtype=np.float32)
