"""Anatomy, scores and devices → one layer of X-ray attenuation, in units of a chest without lungs (= 1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.data.cohorts.phantom import devices, skeleton
from training.data.cohorts.phantom.anatomy import Anatomy
from training.data.cohorts.phantom.canvas import Canvas, Layer, Stroke, spline
from training.data.cohorts.phantom.opacities import replaced_air
from training.data.cohorts.phantom.vessels import hila, vessels


@dataclass(frozen=True)
class Scene:
    """What lies on the detector: the patient, the disease (zones A-F, 0..3) and what is attached."""

    anatomy: Anatomy
    scores: Sequence[int]
    supine: bool = False
    tube: bool = False
    line: bool = False
    leads: bool = False


def attenuation(scene: Scene, canvas: Canvas, rng: np.random.Generator) -> Layer:
    """Attenuation of the whole scene, shape (side, side): air 0, aerated lung about 0.4, heart 1, spine on abdomen about 1.5."""
    anatomy = scene.anatomy
    lungs = {side: canvas.polygon(anatomy.lung(side)) for side in (-1, 1)}
    both = np.maximum(lungs[-1], lungs[1])
    core = canvas.depth(both, 0.2)
    air, density = replaced_air(canvas, anatomy, lungs, core, scene.scores, rng)
    heart = _heart(canvas, anatomy)
    aerated = canvas.blurred(both, 0.006) * (0.26 + 0.74 * core) * (1 - 0.80 * heart)
    back, front = skeleton.ribs(canvas, anatomy)
    faint = 1 - 0.55 * np.clip((canvas.y - 0.30 * anatomy.height - anatomy.inspiration) / 0.15, 0, 1)  # ribs over the abdomen
    bones = (0.13 * back + 0.07 * front) * faint + 0.16 * skeleton.clavicles(canvas, anatomy)
    bones += 0.17 * skeleton.shoulders(canvas, anatomy) + 0.2 * skeleton.spine(canvas, anatomy)
    markings = vessels(canvas, anatomy) * both * (1 - 0.85 * density) * (1 - 0.7 * heart)
    picture = _soft_tissue(canvas, anatomy, both) - (0.64 - 0.06 * anatomy.fat) * aerated * (1 - air)
    picture += canvas.blurred(bones + 0.16 * markings, 0.005) + 0.23 * hila(canvas, anatomy) * (1 - 0.5 * heart)
    picture += 0.15 * heart + _midline(canvas, anatomy)
    picture += _attached(scene, canvas, rng)
    return np.asarray(np.maximum(picture, 0), dtype=np.float32)


def _heart(canvas: Canvas, anatomy: Anatomy) -> Layer:
    """Heart, aortic knob, ascending aorta and superior vena cava: where the lung in front and behind is displaced, 0..1."""
    height, x = anatomy.height, anatomy.midline
    silhouette = canvas.polygon(anatomy.heart_outline())
    knob = canvas.bump(x + 0.10 * anatomy.aorta, -0.40 * height, 0.036 * anatomy.aorta, 0.05 * anatomy.aorta)
    great = spline([(x - 0.075, -0.62), (x - 0.10, -0.35), (x - 0.11, -0.12), (x + 0.05, -0.16), (x + 0.13, -0.22),
                    (x + 0.10, -0.42), (x + 0.07, -0.62), (x - 0.075, -0.62)], 6)  # fmt: skip
    vessels_above = canvas.polygon(great * np.array([1, height]))
    solid = np.maximum(silhouette, np.maximum(np.clip(knob * 2.4, 0, 1), 0.95 * vessels_above))
    return canvas.blurred(solid, 0.011) * (0.72 + 0.28 * canvas.depth(silhouette, 0.2))


def _soft_tissue(canvas: Canvas, anatomy: Anatomy, lungs: Layer) -> Layer:
    """Trunk, neck, shoulders and arms without air; more of it below the diaphragm; breasts; gas in the stomach."""
    trunk = np.maximum(canvas.polygon(anatomy.body(-1)), canvas.polygon(anatomy.body(1)))
    arms = [Stroke(spline([(s * 1.02, -0.62), (s * (1.12 + 0.03 * anatomy.arms), -0.2), (s * 1.24, 0.3), (s * 1.36, 0.9)]), 0.27)
            for s in (-1, 1)]  # fmt: skip
    flesh = 0.92 * canvas.depth(trunk, 0.36 + 0.08 * anatomy.fat) ** 0.8
    limbs = 0.62 * canvas.depth(canvas.strokes(arms), 0.13)
    tissue = np.maximum(flesh, limbs) + 0.07 * anatomy.fat * trunk
    tissue += 0.4 * canvas.bump(0.02 * anatomy.rotation, -1.38, 0.20, 0.11) * trunk  # chin
    tissue -= 0.16 * trunk * np.clip((-0.62 - canvas.y) / 0.3, 0, 1)  # neck and shoulder tops are thinner than the chest
    floor = 0.36 * anatomy.height + anatomy.inspiration
    below = np.clip((canvas.y - floor + 0.08) / 0.3, 0, 1)
    tissue += (0.26 + 0.10 * anatomy.fat) * below * canvas.depth(trunk, 0.3) * (1 - lungs)
    tissue += 0.05 * canvas.bump(-0.35, floor + 0.3, 0.3, 0.22) * (1 - lungs)  # liver
    tissue -= _stomach(canvas, anatomy, floor) * (1 - lungs)
    return np.asarray(tissue + _breasts(canvas, anatomy), dtype=np.float32)


def _stomach(canvas: Canvas, anatomy: Anatomy, floor: float) -> Layer:
    """Gas bubble under the left dome, and a few gas shadows of the colon."""
    rng = np.random.default_rng((anatomy.seed, 1))
    size = 0.035 + 0.05 * anatomy.bubble
    y = floor + anatomy.dome_gap + 0.075 + 0.5 * size
    gas = 0.30 * np.clip(canvas.bump(0.33 * anatomy.width, y, size * 1.25, size * 0.7) * 2 - 0.35, 0, 1)
    for _ in range(int(rng.integers(0, 5))):
        gas += 0.16 * canvas.bump(rng.uniform(0.05, 0.65), floor + rng.uniform(0.25, 0.6), rng.uniform(0.02, 0.06), 0.03)
    return np.asarray(gas, dtype=np.float32)


def _breasts(canvas: Canvas, anatomy: Anatomy) -> Layer:
    """Two soft shadows with a rounded lower border."""
    layer = np.zeros((canvas.side, canvas.side), dtype=np.float32)
    if anatomy.breast == 0:
        return layer
    for side in (-1, 1):
        angle = np.linspace(0, 2 * np.pi, 40)
        x = side * 0.48 * anatomy.width + 0.32 * np.cos(angle)
        y = 0.26 + 0.42 * anatomy.breast * np.where(np.sin(angle) > 0, 0.75, 1.0) * np.sin(angle)
        fade = np.clip((canvas.y + 0.02) / 0.35, 0, 1)
        layer += canvas.polygon(np.column_stack([x, y])) * fade
    return canvas.blurred(layer, 0.03) * np.float32(0.06 + 0.12 * anatomy.breast)


def _midline(canvas: Canvas, anatomy: Anatomy) -> Layer:
    """Mediastinum, less the air of trachea and main bronchi."""
    x = anatomy.midline
    half = 0.125 + 0.03 * anatomy.fat
    band = np.exp(-(((canvas.x - x) / half) ** 4)) * (0.65 + 0.35 * np.clip((canvas.y + 0.8) / 1.2, 0, 1))
    windpipe = spline([(x * 0.4, -1.3), (x * 0.8, -0.8), (x + 0.004, devices.CARINA)])
    right = spline([(x, devices.CARINA), (x - 0.07, devices.CARINA + 0.10), (x - 0.14, devices.CARINA + 0.2)])
    left = spline([(x, devices.CARINA), (x + 0.08, devices.CARINA + 0.075), (x + 0.18, devices.CARINA + 0.14)])
    airway = canvas.strokes([Stroke(right, 0.042, 0.45), Stroke(left, 0.038, 0.4), Stroke(windpipe, 0.068)])
    return np.asarray(0.12 * band - 0.15 * canvas.blurred(airway, 0.009), dtype=np.float32)


def _attached(scene: Scene, canvas: Canvas, rng: np.random.Generator) -> Layer:
    layer = np.zeros((canvas.side, canvas.side), dtype=np.float32)
    if not (scene.tube or scene.line or scene.leads):
        return layer
    if scene.tube:
        layer += 0.16 * devices.tube(canvas, scene.anatomy)
    if scene.line:
        layer += 0.16 * devices.central_line(canvas, scene.anatomy, rng)
    if scene.leads:
        layer += 0.26 * devices.leads(canvas, rng)
    return canvas.blurred(layer, 0.003)
