"""The input gate: is this a frontal film of an adult's chest, like those the bundle was trained on?

First the DICOM tags are asked, where there are any. Then the picture, by two numbers of its measures (`cxr.measures`): the Mahalanobis
distance from the training films, which anything strange is far in, and the log odds that it is a spoilt one of them (inverted, turned,
cut), which a chest upside down is near in all but. The score is the worse of both, 1 at the edge of the training films. A film above
the threshold is refused, and if its negative or a turned copy passes, the refusal says so. The distance is that of Lee et al., "A
simple unified framework for detecting out-of-distribution samples", 2018, on named measures instead of a network's features, so that a
refusal can say what is unusual; the odds are outlier exposure (Hendrycks et al., 2019) with a logistic regression.

All that was fitted is numbers, and travels in the bundle as JSON. Fitted by `training.input_gate`.
"""

from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr.errors import NotFrontalChest
from cxr.measures import NAMES, REVISION, SIDE, Measured, Numbers, Seen, measure
from cxr.radiograph import Radiograph

FRONTAL = ("AP", "PA")
FARTHEST = 6.0  # scales from the centre, where the odds are concerned: beyond it the distance speaks
ALLOWED = "a frontal chest film (PA or AP) of an adult, upright and not inverted"

# What a film may have been turned into: name of the remedy → the picture it is tried as.
REMEDIES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "inverted": lambda gray: 255 - gray,
    "upside-down": lambda gray: gray[::-1, ::-1],
    "rotated-left": lambda gray: np.rot90(gray, -1),
    "rotated-right": lambda gray: np.rot90(gray, 1),
    "mirrored-upside-down": lambda gray: gray[::-1],
}
FOUND = {
    "inverted": "a film that looks inverted: its negative would pass",
    "upside-down": "a film that looks upside down",
    "rotated-left": "a film that looks rotated to the left",
    "rotated-right": "a film that looks rotated to the right",
    "mirrored-upside-down": "a film that looks flipped from top to bottom",
}


class GateModel(BaseModel):
    """`gate.json` of a bundle. `threshold` is the score above which a film is refused, `accepted` the share of `films` training films
    that pass it when they are held out (by patient), `typical` the 5, 25, 50, 75 and 95 % of their scores, to see drift by. Measures
    are centred and scaled, likeness is to `chest` and `film`, of which `chest_basis` and `film_basis` span the usual variation.
    `weights` and `bias` give the log odds of a spoilt film; the limits are what 99 % of held-out films stay under."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    threshold: float = Field(gt=0)
    films: int = Field(ge=1)
    accepted: float = Field(ge=0, le=1)
    typical: tuple[float, ...]
    cohorts: tuple[str, ...]
    chest: tuple[float, ...]
    chest_basis: tuple[tuple[float, ...], ...]
    film: tuple[float, ...]
    film_basis: tuple[tuple[float, ...], ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    bias: float
    distance_limit: float = Field(gt=0)
    odds_limit: float

    @model_validator(mode="after")
    def _fits_the_measures(self) -> Self:
        shapes = {
            "chest": (SIDE**2,), "film": (SIDE**2,), "chest_basis": (len(self.chest_basis), SIDE**2),
            "film_basis": (len(self.film_basis), SIDE**2), "centre": (len(NAMES),), "scale": (len(NAMES),),
            "precision": (len(NAMES), len(NAMES)), "weights": (len(NAMES) + len(self.chest_basis) + len(self.film_basis),),
            "bias": (), "distance_limit": (), "odds_limit": (), "threshold": (),
        }  # fmt: skip
        for name, shape in shapes.items():
            found = np.array(getattr(self, name))
            if found.shape != shape or not np.isfinite(found).all() or (name == "scale" and (found <= 0).any()):
                raise ValueError(f"{name} of shape {found.shape}; wanted: {shape}, finite, and a scale above 0")
        return self


class Gate:
    """`model` None asks the DICOM tags alone: bundles made before there was a gate."""

    def __init__(self, model: GateModel | None = None) -> None:
        if model is not None and model.revision != REVISION:
            raise ValueError(
                f"the gate was fitted to measures of revision {model.revision}; this service takes revision {REVISION}"
            )
        self.model = model
        if model is not None:
            self._likeness = Likeness(*map(np.array, (model.chest, model.chest_basis, model.film, model.film_basis)))
            self._centre, self._scale, self._precision = map(np.array, (model.centre, model.scale, model.precision))
            self._weights = np.array(model.weights)

    def check_tags(self, radiograph: Radiograph) -> None:
        """Raises NotFrontalChest for a view, a body part or an age that the tags name and that is not served."""
        if radiograph.view is not None and radiograph.view not in FRONTAL:
            raise NotFrontalChest("view", f"view position {radiograph.view}", ALLOWED)
        if radiograph.chest is False:
            raise NotFrontalChest("body-part", "another body part than the chest in the DICOM header", ALLOWED)
        if radiograph.adult is False:
            raise NotFrontalChest("age", "a patient under 18 years in the DICOM header", ALLOWED)

    def check(self, seen: Seen, look: Callable[[NDArray[np.uint8]], Seen]) -> float | None:
        """The score of a film; None without a model, or for a film without lungs that no remedy brings to light.

        `look` segments another picture. Raises NotFrontalChest with score and threshold.
        """
        score = self.score_of(seen)
        if self.model is None or (score is not None and score <= self.model.threshold):
            return score
        measured = measure(seen) if seen.lungs.any() else None
        remedy = self._remedy(seen.gray, look)
        if remedy is None and measured is None:
            return None
        unusual = self.unusual(measured) if measured else ()
        found = FOUND[remedy] if remedy else f"a picture unlike the training films, most of all in {' and '.join(unusual)}"
        raise NotFrontalChest(remedy or "unlike-training", found, ALLOWED, score, self.model.threshold)

    def score_of(self, seen: Seen) -> float | None:
        """The score of a film; None without a model or without lungs."""
        return self.score(measure(seen)) if self.model is not None and seen.lungs.any() else None

    def score(self, measured: Measured) -> float:
        """The worse of distance and odds, each 1 at its limit."""
        assert self.model is not None
        return combined(self.distance(measured), self.odds(measured), self.model.distance_limit, self.model.odds_limit)

    def distance(self, measured: Measured) -> float:
        """Mahalanobis distance from the training films, per measure."""
        z = self._standard(measured)
        return float(np.sqrt(max(z @ self._precision @ z, 0) / z.size))

    def odds(self, measured: Measured) -> float:
        """Log odds that the film is a spoilt one."""
        assert self.model is not None
        return float(self.evidence(measured) @ self._weights + self.model.bias)

    def evidence(self, measured: Measured) -> Numbers:
        """What the log odds are linear in: the standard measures, within bounds, and where the pictures lie in their bases."""
        return np.concatenate([np.clip(self._standard(measured), -FARTHEST, FARTHEST), self._likeness.coordinates(measured)])

    def unusual(self, measured: Measured, most: int = 2) -> tuple[str, ...]:
        """The measures that the distance owes most to."""
        z = self._standard(measured)
        return tuple(NAMES[i] for i in np.argsort(z * (self._precision @ z))[::-1][:most])

    def _standard(self, measured: Measured) -> Numbers:
        return np.asarray((self._likeness.numbers(measured) - self._centre) / self._scale)

    def _remedy(self, gray: NDArray[np.uint8], look: Callable[[NDArray[np.uint8]], Seen]) -> str | None:
        """The turn that makes the film pass with the lowest score."""
        assert self.model is not None
        scores = {}
        for name, turned in REMEDIES.items():
            seen = look(np.ascontiguousarray(turned(gray)))
            if seen.lungs.any():
                scores[name] = self.score(measure(seen))
        best = min(scores, key=scores.__getitem__, default=None)
        return best if best is not None and scores[best] <= self.model.threshold else None


class Likeness:
    """How much a film is like the average one (cosine), and how much of it the usual variation does not explain (log of a length)."""

    def __init__(self, chest: Numbers, chest_basis: Numbers, film: Numbers, film_basis: Numbers) -> None:
        self._parts = ((chest, chest_basis), (film, film_basis))

    def numbers(self, measured: Measured) -> Numbers:
        """All measures, in the order of NAMES."""
        found = []
        for picture, (mean, basis) in zip((measured.chest, measured.film), self._parts, strict=True):
            apart = picture - mean
            left = apart - (apart @ basis.T) @ basis
            found += [float(picture @ mean / np.linalg.norm(mean)), float(np.log(np.linalg.norm(left) + 1e-3))]
        return np.concatenate([measured.numbers, found])

    def coordinates(self, measured: Measured) -> Numbers:
        """Both pictures in their bases, four times: of about the size of the standard measures."""
        pictures = (measured.chest, measured.film)
        return 4 * np.concatenate([basis @ picture for picture, (_, basis) in zip(pictures, self._parts, strict=True)])


def combined(distance: float, odds: float, distance_limit: float, odds_limit: float) -> float:
    """One score of two: a distance twice its limit is as bad as odds e^4 times theirs."""
    return max(distance / distance_limit, 1 + (odds - odds_limit) / 4)
