"""One patient's chest: a few numbers drawn once per patient, and the outlines that follow from them (body coordinates)."""

from dataclasses import dataclass

import numpy as np

from training.data.cohorts.phantom.canvas import Points, spline

# Right lung of an average adult, lateral positive: from the cardiophrenic angle up the mediastinum, over the apex, down the chest
# wall to the costophrenic angle; then back along the dome of the diaphragm.
_WALL = (
    (0.085, 0.42), (0.075, 0.25), (0.08, 0.0), (0.085, -0.25), (0.09, -0.45), (0.12, -0.62), (0.18, -0.745), (0.285, -0.795),
    (0.405, -0.75), (0.535, -0.62), (0.63, -0.42), (0.69, -0.18), (0.725, 0.05), (0.745, 0.28), (0.75, 0.44), (0.745, 0.545),
)  # fmt: skip
_DOME = ((0.745, 0.545), (0.70, 0.46), (0.59, 0.38), (0.45, 0.335), (0.31, 0.335), (0.19, 0.37), (0.085, 0.42))


@dataclass(frozen=True)
class Anatomy:
    """Sizes relative to an average adult (1.0), shifts in body units, `rotation` −1..1 (patient turned), `fat` 0..1."""

    width: float
    height: float
    inspiration: float  # shift of the diaphragm, positive is deeper
    dome_gap: float  # how much lower the left dome is
    blunting: float  # how far the costophrenic angles are filled, 0..1
    heart: float
    heart_tilt: float
    aorta: float
    rotation: float
    fat: float
    breast: float
    arms: float  # how far the shoulders are raised, 0..1
    ribs: float  # spacing and slope
    bubble: float
    scoliosis: float
    seed: int  # for vessels and other details that stay the same at follow-up

    @classmethod
    def draw(cls, rng: np.random.Generator, female: bool) -> "Anatomy":
        """A random adult."""
        return cls(
            width=float(rng.normal(0.97 if female else 1.02, 0.055)),
            height=float(rng.normal(0.98 if female else 1.0, 0.055)),
            inspiration=float(np.clip(rng.normal(-0.01, 0.075), -0.2, 0.1)),
            dome_gap=float(np.clip(rng.normal(0.045, 0.025), -0.03, 0.11)),
            blunting=float(rng.beta(1.2, 5)),
            heart=float(np.clip(rng.normal(1.05, 0.13), 0.8, 1.45)),
            heart_tilt=float(rng.normal(0.0, 0.12)),
            aorta=float(np.clip(rng.normal(1.0, 0.2), 0.6, 1.5)),
            rotation=float(np.clip(rng.normal(0.0, 0.4), -1, 1)),
            fat=float(rng.beta(2, 3)),
            breast=float(rng.uniform(0.35, 1.0)) if female else 0.0,
            arms=float(rng.uniform(0, 1)),
            ribs=float(rng.normal(1.0, 0.06)),
            bubble=float(rng.uniform(0, 1)),
            scoliosis=float(rng.normal(0, 0.018)),
            seed=int(rng.integers(2**31)),
        )

    @property
    def midline(self) -> float:
        """Body x of the mediastinum: a turned patient's shifts."""
        return 0.035 * self.rotation

    def lung(self, side: int) -> Points:
        """Outline of a lung incl. the part behind the heart; side −1 is the patient's right (image left), 1 the left."""
        wall, dome = np.array(_WALL), np.array(_DOME)
        lowered = self.inspiration + (self.dome_gap if side > 0 else 0.0)
        for curve in (wall, dome):
            curve[:, 0] = self.side_width(side) * curve[:, 0]
            # the apex stays where it is, the base moves with the diaphragm
            curve[:, 1] = self.height * curve[:, 1] + lowered * np.clip((curve[:, 1] + 0.2) / 0.6, 0, 1)
        dome[1:3, 1] += np.array([-0.03, -0.01]) * self.blunting
        dome[0] = wall[-1] = dome[0] - np.array([0.012, 0.10]) * self.blunting
        outline = np.vstack([spline(wall), spline(dome)[1:]])
        return np.column_stack([side * outline[:, 0] + self.midline, outline[:, 1]])

    def side_width(self, side: int) -> float:
        """Width of one half of the chest: turning the patient widens one and narrows the other."""
        return self.width * (1 + 0.06 * side * self.rotation) * (0.97 if side > 0 else 1.0)

    def zone_borders(self, side: int) -> tuple[float, float, float, float]:
        """Body y of apex, of the two borders between thirds, and of the base of one lung (Brixia zones by thirds)."""
        y = self.lung(side)[:, 1]
        top, base = float(y.min()), float(y.max())
        return top, top + (base - top) / 3, top + (base - top) * 2 / 3, base

    def lateral(self, side: int, y: float) -> float:
        """Distance of the chest wall from the midline at height y."""
        curve = spline(np.array(_WALL)[7:])
        return float(np.interp(y, self.height * curve[:, 1], curve[:, 0])) * self.side_width(side)

    def body(self, side: int) -> Points:
        """Outline of one half of the trunk, neck to hip, without the arm; starts and ends on the midline."""
        w, fat = self.width, self.fat
        flank = 0.83 * w + 0.10 * fat
        points = [
            (0.0, -1.8), (0.205 + 0.03 * fat, -1.8), (0.205 + 0.03 * fat, -1.04), (0.30, -0.95), (0.60 * w, -0.89),
            (0.93 * w, -0.80), (1.10 * w, -0.63), (1.12 * w, -0.36), (1.0 * w, -0.20), (flank + 0.045, 0.0),
            (flank, 0.28), (flank + 0.02, 0.7), (flank + 0.05 + 0.05 * fat, 1.6), (0.0, 1.6),
        ]  # fmt: skip
        outline = np.vstack([points[0], spline(points[1:-1]), points[-1]])
        return np.column_stack([side * outline[:, 0], outline[:, 1] * np.where(outline[:, 1] < 0, self.height, 1.0)])

    def heart_outline(self) -> Points:
        """Silhouette of the heart with the right atrium, the apex to the left, resting on the diaphragm."""
        base = 0.43 * self.height + self.inspiration + 0.5 * self.dome_gap
        size = self.heart * self.width
        points = [
            (-0.10, -0.26), (-0.155, -0.05), (-0.205, 0.12), (-0.195, 0.30), (-0.12, 0.42), (0.05, 0.45), (0.25, 0.455),
            (0.38, 0.41), (0.435, 0.30), (0.41, 0.14), (0.325, -0.03), (0.215, -0.16), (0.15, -0.23), (0.05, -0.30),
            (-0.10, -0.26),
        ]  # fmt: skip
        outline = spline(points, 6)
        outline = outline * np.array([size, 0.55 + 0.45 * self.heart]) + np.array([self.midline * 1.3, 0.0])
        outline[:, 1] += base - outline[:, 1].max() + 0.05 + self.heart_tilt * (outline[:, 0] - 0.05) * 0.5
        return np.asarray(outline)
