"""How every training film is varied, as numbers: a hash of (seed, epoch, sample, draw).

They do not depend on batch size, order, workers, threads or where a run was resumed. What is varied is what the authors vary (shift
and zoom by 10 %, flip, rotation by 10°, elastic deformation; each applied to about half of the films), plus contrast and brightness,
because centres differ in exposure. `film_warp` and `tensor_warp` carry it out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.settings import Augmentation

CONTROL = 6  # control points a side of the elastic field
_DRAWS = 14 + 2 * CONTROL * CONTROL
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Variation:
    """What becomes of n films. A place is a share of the side from the film's middle, as (x, y).

    First every grey level g becomes (g − 127.5) · contrast + 127.5 + brightness, both (n,), cut off at 0 and 255. Then the pixel at
    place p of the result is taken at `linear` · p + `shift` + elastic displacement: linear (n, 2, 2), shift (n, 2), control
    (n, 2, 6, 6) the displacement at points from corner to corner, zero where `elastic` (n,) says there is none. What is taken from
    outside the film is as 0 has become. All are float64 but `elastic`.
    """

    linear: NDArray[np.float64]
    shift: NDArray[np.float64]
    control: NDArray[np.float64]
    elastic: NDArray[np.bool_]
    contrast: NDArray[np.float64]
    brightness: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.linear)

    @property
    def mirrored(self) -> NDArray[np.bool_]:
        """(n,): which films show left and right exchanged."""
        return np.linalg.det(self.linear) < 0


def vary(keys: NDArray[np.uint64], seed: int, epoch: int, s: Augmentation) -> Variation:
    """The variation of the samples named by `keys` (n,) in one epoch (counted from 1)."""
    u = uniforms(seed, epoch, keys, _DRAWS)

    def amount(decides: int, strength: float, draw: int = 0) -> NDArray[np.float64]:
        return np.where(u[:, decides] < s.probability, (2 * u[:, draw or decides + 1] - 1) * strength, 0.0)

    angle, scale = amount(0, np.deg2rad(s.degrees)), 1 / (1 + amount(2, s.zoom))
    shift = np.stack([amount(4, s.shift), amount(4, s.shift, draw=6)], axis=1)  # both or neither
    mirror = np.where((u[:, 8] < 0.5) & s.flip, -1.0, 1.0)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.stack([mirror * cos, -mirror * sin, sin, cos], axis=1).reshape(-1, 2, 2)
    elastic = (u[:, 9] < s.probability) & (s.elastic > 0)
    control = (2 * u[:, 14:] - 1).reshape(-1, 2, CONTROL, CONTROL) * s.elastic * elastic[:, None, None, None]
    return Variation(linear, shift, control, elastic, 1 + amount(10, s.contrast), 255 * amount(12, s.brightness))


def tone_tables(variation: Variation) -> NDArray[np.float32]:
    """(n, 256): what each grey level of each film becomes, 0..255."""
    contrast, brightness = variation.contrast[:, None], variation.brightness[:, None]
    return ((np.arange(256) - 127.5) * contrast + 127.5 + brightness).clip(0, 255).astype(np.float32)


def uniforms(seed: int, epoch: int, keys: NDArray[np.uint64], draws: int) -> NDArray[np.float64]:
    """(seed, epoch, sample, draw) → numbers in [0, 1), shape (len(keys), draws): the finaliser of splitmix64 over a counter."""
    mask = (1 << 64) - 1
    base = np.uint64((seed * _GOLDEN + epoch * 0xD1342543DE82EF95) & mask)
    counter = np.arange(1, draws + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    x = _mix(_mix(keys ^ base)[:, None] + counter[None, :])
    return (x >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
