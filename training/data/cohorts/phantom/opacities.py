"""What the disease looks like: how much air of the lung is replaced, zone by zone, from the Brixia scores.

Score 0 nothing, 1 interstitial (a fine net with a little haze), 2 interstitial and alveolar (patches with a net), 3 alveolar
(dense, soft-edged, hides vessels and borders). Mostly peripheral and basal, as published for COVID-19.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from training.data.cohorts.phantom.anatomy import Anatomy
from training.data.cohorts.phantom.canvas import Canvas, Layer

_SOFT = 0.06  # body units over which one zone passes into the next


def zone_weights(canvas: Canvas, anatomy: Anatomy, lungs: dict[int, Layer], ragged: Layer) -> list[Layer]:
    """Soft membership 0..1 of zones A-F: thirds of the right lung (−1), then of the left lung (1), upper first.

    `ragged` shifts the borders up and down (body units): disease knows no thirds.
    """
    weights = []
    height = canvas.y + ragged
    for side in (-1, 1):
        _, upper, lower, _ = anatomy.zone_borders(side)
        below_upper = expit((height - np.float32(upper)) * np.float32(2 / _SOFT)) * lungs[side]
        below_lower = expit((height - np.float32(lower)) * np.float32(2 / _SOFT)) * lungs[side]
        weights += [lungs[side] - below_upper, below_upper - below_lower, below_lower]
    return weights


def _net(canvas: Canvas, rng: np.random.Generator) -> Layer:
    """Fine lines around small meshes: where a band of noise crosses zero."""
    noise = canvas.cloud(58, rng) + 0.5 * canvas.cloud(105, rng)
    coarse = canvas.cloud(27, rng) * 1.5 + 0.3 * noise
    return np.asarray(np.exp(-((noise / 0.26) ** 2)) * 0.65 + np.exp(-((coarse / 0.22) ** 2)) * 0.6, dtype=np.float32)


def replaced_air(
    canvas: Canvas,
    anatomy: Anatomy,
    lungs: dict[int, Layer],
    core: Layer,
    scores: Sequence[int],
    rng: np.random.Generator,
) -> tuple[Layer, Layer]:
    """Share of air replaced (0..0.95) and how dense it is there (0..1, hides vessels).

    `core` is 0 at the pleura and 1 deep in the lung. The same generator state gives the same patches whatever the scores.
    """
    coarse = Canvas(canvas.side // 2)
    shape = coarse.cloud(7, rng) * 0.6 + coarse.cloud(15, rng) * 0.55 + coarse.cloud(32, rng) * 0.3
    net = _net(canvas, rng)
    ragged = np.float32(0.045) * coarse.cloud(9, rng)
    strength = rng.uniform(0.7, 1.3, 6).astype(np.float32)
    far = np.abs(coarse.x - np.float32(anatomy.midline)) / np.float32(0.62 * anatomy.width)
    outward = 1.3 * (far - 0.6) + 0.5 * (0.6 - canvas.halved(core)) + 0.35 * coarse.y
    haze = expit(1.6 * (shape + outward))
    patch = expit(2.6 * (shape + outward + 0.05))
    dense = expit(2.3 * (shape + 0.8 * outward + 0.75))
    none = np.zeros_like(haze)
    smooth = (none, 0.05 + 0.10 * haze, 0.09 + 0.33 * patch, 0.20 + 0.62 * dense)
    netted = (none, 0.19 * (0.35 + haze), 0.20 * (0.3 + haze), 0.08 * (1 - dense))
    hiding = (none, none, 0.5 * patch, dense)
    air, lines, density = np.zeros((3, coarse.side, coarse.side), dtype=np.float32)
    halves = {side: canvas.halved(lung) for side, lung in lungs.items()}
    for weight, score, amount in zip(zone_weights(coarse, anatomy, halves, ragged), scores, strength, strict=True):
        air += weight * smooth[score] * amount
        lines += weight * netted[score] * amount
        density += weight * hiding[score]
    replaced = canvas.enlarged(air) + canvas.enlarged(lines) * net
    return np.clip(replaced, 0, 0.95), np.clip(canvas.enlarged(density), 0, 1)
