"""Attenuation → the picture a detector and its workstation deliver, and the exact lung mask of that picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from training.data.cohorts.phantom.anatomy import Anatomy
from training.data.cohorts.phantom.canvas import HALF, Canvas, Layer, Points
from training.data.cohorts.phantom.plan import FilmPlan
from training.data.cohorts.phantom.rendering import Scene, attenuation
from training.data.cohorts.phantom.styles import STYLES, Style


@dataclass(frozen=True)
class View:
    """Where the detector lies: body = centre + scale · rotation(tilt) · (pixel − middle of the film)."""

    rows: int
    columns: int
    centre: tuple[float, float]  # body units
    scale: float  # body units per pixel
    tilt: float  # radians

    @classmethod
    def draw(cls, plan: FilmPlan, anatomy: Anatomy, rng: np.random.Generator) -> "View":
        """The lungs fill most of the film and are never cut; bedside films are tilted more and centred worse."""
        sloppy = 1.6 if plan.supine else 1.0
        lungs = np.vstack([anatomy.lung(-1), anatomy.lung(1)])
        low, high = lungs.min(axis=0), lungs.max(axis=0)
        tilt = float(np.clip(rng.normal(0, 0.018 * sloppy), -0.07, 0.07))
        turned = np.array(
            [[1, abs(tilt)], [abs(tilt), 1]]
        )  # half sides of a box → of the upright box around it when it is tilted
        film, chest = np.array([plan.columns, plan.rows]) / 2, turned @ (high - low) / 2
        wanted = float((chest * rng.uniform((1.06, 1.10), (1.28, 1.34)) / film).max())
        drawn = HALF - 0.02  # nothing was drawn beyond the canvas: a film stays within it unless that would cut the lungs
        scale = max(min(wanted, drawn / float((turned @ film).max())), float((1.03 * chest / film).max()))
        middle = (low + high) / 2 + rng.normal(0, 0.022 * sloppy, 2) + np.array([0, 0.015])
        room = np.maximum(drawn - scale * (turned @ film), 0)
        play = scale * film - 1.02 * chest
        middle = np.clip(np.clip(middle, -room, room), (low + high) / 2 - play, (low + high) / 2 + play)
        return cls(plan.rows, plan.columns, (float(middle[0]), float(middle[1])), scale, tilt)

    def matrix(self) -> NDArray[np.float64]:
        """Pixel offset → body offset, (2, 2)."""
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        return self.scale * np.array([(cos, -sin), (sin, cos)])

    def to_pixels(self, points: Points) -> Points:
        """Body coordinates (n, 2) → pixel coordinates (x, y) on the film."""
        middle = np.array([self.columns, self.rows]) / 2
        return np.asarray((points - np.array(self.centre)) @ np.linalg.inv(self.matrix()).T + middle)

    def resample(self, layer: Layer) -> Layer:
        """A canvas layer seen by this detector, shape (rows, columns); air beyond the canvas."""
        per_unit = layer.shape[0] / (2 * HALF)
        turn = self.matrix() * per_unit
        start = (np.array(self.centre) + HALF) * per_unit - turn @ (np.array([self.columns, self.rows]) / 2)
        affine = (turn[0, 0], turn[0, 1], start[0], turn[1, 0], turn[1, 1], start[1])
        sheet = Image.fromarray(layer)
        seen = sheet.transform((self.columns, self.rows), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)
        return np.asarray(seen, dtype=np.float32)

    def mask(self, anatomy: Anatomy) -> NDArray[np.bool_]:
        """Both lungs incl. the part behind the heart, shape (rows, columns)."""
        sheet = Image.new("L", (self.columns, self.rows))
        for side in (-1, 1):
            ImageDraw.Draw(sheet).polygon([(float(x), float(y)) for x, y in self.to_pixels(anatomy.lung(side)) - 0.5], fill=1)
        return np.asarray(sheet, dtype=bool)


@dataclass(frozen=True)
class Exposure:
    """A finished picture: `picture` 0..1 (rows, columns), bright is dense, and what is known about it."""

    picture: Layer
    view: View
    anatomy: Anatomy


def patient_anatomy(plan: FilmPlan) -> Anatomy:
    """The anatomy of the film's patient: the same at every follow-up."""
    return Anatomy.draw(np.random.default_rng((*plan.patient_seed, 0)), plan.female)


def expose(plan: FilmPlan) -> Exposure:
    """Renders one planned film. The same plan gives the same picture, bit for bit."""
    rng = np.random.default_rng(plan.seed)
    anatomy, style, canvas = patient_anatomy(plan), STYLES[plan.style], Canvas(plan.canvas)
    scene = Scene(anatomy, plan.scores, plan.supine, plan.tube, plan.line, plan.leads)
    picture = _processed(attenuation(scene, canvas, rng), canvas, anatomy, style, rng)
    view = View.draw(plan, anatomy, rng)
    seen = view.resample(picture)
    seen = np.where(seen > 0, _tones(seen, style, rng), 0).astype(np.float32)
    seen += _noise(seen, style, plan.supine, rng)
    seen = _collimated(seen, style, rng)
    marks = _marks(plan, style, rng)
    return Exposure(np.clip(np.maximum(seen, marks), 0, 1), view, anatomy)


def _processed(layer: Layer, canvas: Canvas, anatomy: Anatomy, style: Style, rng: np.random.Generator) -> Layer:
    """Scatter (worse in large patients) flattens, focal spot and motion blur, then the workstation lifts local contrast."""
    wide = canvas.blurred(layer, 0.22)
    flat = layer + (0.10 + 0.18 * anatomy.fat) * (wide - layer)
    sharp = canvas.blurred(flat, style.blur * rng.uniform(0.7, 1.4))
    return np.asarray(sharp + style.detail * rng.uniform(0.7, 1.3) * (sharp - canvas.blurred(sharp, 0.055)), dtype=np.float32)


def _tones(seen: Layer, style: Style, rng: np.random.Generator) -> Layer:
    """Exposure window and the film-like S curve."""
    dark, bright = style.dark + rng.normal(0, 0.03), style.bright + rng.normal(0, 0.06)
    linear = np.clip((seen - dark) / (bright - dark), 0, 1.3) ** np.float32(style.gamma * rng.uniform(0.92, 1.08))
    return np.asarray(np.tanh(0.95 * linear) / np.tanh(np.float32(0.95 * 1.08)), dtype=np.float32)


def _noise(seen: Layer, style: Style, supine: bool, rng: np.random.Generator) -> Layer:
    """Quantum noise, stronger where fewer photons arrive (dense parts) and in bedside films."""
    white = rng.standard_normal(seen.shape, dtype=np.float32)
    grain = np.float32(style.noise * rng.uniform(0.7, 1.5) * (1.4 if supine else 1.0))
    return np.asarray(white * grain * (0.25 + seen), dtype=np.float32)


def _collimated(seen: Layer, style: Style, rng: np.random.Generator) -> Layer:
    """A dark border where the beam was closed; sometimes only on two sides."""
    if rng.random() >= style.collimated:
        return seen
    rows, columns = seen.shape
    left, right, top, bottom = (rng.uniform(0.004, 0.045, 4) * (rng.random(4) < 0.7)).tolist()
    slant = rng.normal(0, 0.006) * columns
    sheet = Image.new("L", (columns, rows), 10)
    corners = [(left * columns + slant, top * rows), ((1 - right) * columns, top * rows + slant),
               ((1 - right) * columns - slant, (1 - bottom) * rows), (left * columns, (1 - bottom) * rows - slant)]  # fmt: skip
    ImageDraw.Draw(sheet).polygon(corners, fill=255)
    open_beam = ndimage.uniform_filter(np.asarray(sheet, dtype=np.float32), 3) / np.float32(255)
    return np.asarray(seen * open_beam)


def _marks(plan: FilmPlan, style: Style, rng: np.random.Generator) -> Layer:
    """Side marker and burnt-in text, 0..1."""
    sheet = Image.new("L", (plan.columns, plan.rows))
    pen = ImageDraw.Draw(sheet)
    size = min(plan.rows, plan.columns)
    if style.letter and rng.random() < 0.85:
        x = rng.uniform(0.86, 0.93) if style.letter == "L" else rng.uniform(0.03, 0.09)
        place = (x * plan.columns, rng.uniform(0.03, 0.16) * plan.rows)
        font = ImageFont.load_default(size * rng.uniform(0.04, 0.06))
        pen.text(place, style.letter, fill=int(rng.integers(215, 256)), font=font)
    if style.writing and rng.random() < 0.7:
        place = (rng.choice((0.03, 0.70)) * plan.columns, rng.choice((0.02, 0.94)) * plan.rows)
        pen.text(place, style.writing, fill=235, font=ImageFont.load_default(size * 0.028))
    return np.asarray(sheet, dtype=np.float32) / np.float32(255)
