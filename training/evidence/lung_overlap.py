"""How well found lungs lie on drawn ones: per film of the held-out pairs, beside how well two annotators agree."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr.segmentation import Segmenter
from training.data.lung_pairs import LungPair, agreement, dice, load_arrays
from training.evaluation.bootstrap import interval_of

SIZE = 256  # both masks are squeezed to what the U-Net sees
Gray, Mask = NDArray[np.uint8], NDArray[np.bool_]
Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True)
class Overlap:
    """One held-out pair. `dice` of found and drawn lungs, at SIZE×SIZE; `humans` that of two annotators, where two drew the film."""

    pair: LungPair
    film: Gray
    found: Mask
    drawn: Mask
    dice: float
    humans: float | None

    @property
    def iou(self) -> float:
        """Intersection over union: of one film it follows from its Dice."""
        return self.dice / (2 - self.dice)


class Figure(NamedTuple):
    """A figure over films, and its 95 % interval by bootstrap over patients."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def overlaps(pairs: Sequence[LungPair], segmenters: Mapping[str, Segmenter], threshold: float = 0.5) -> list[Overlap]:
    """Each pair judged by the segmenter of its own kind of lung; pairs of a kind that has none are left out."""
    judged = [pair for pair in pairs if pair.definition in segmenters]
    arrays = load_arrays(judged, SIZE)
    made = []
    for pair, film, drawn in zip(judged, arrays.films, arrays.lungs, strict=True):
        found = segmenters[pair.definition].probability(film) >= threshold
        humans = agreement(pair, SIZE) if pair.second else None
        made.append(Overlap(pair, film, found, drawn, dice(found, drawn), humans))
    return made


def mean_of(values: Sequence[float], patients: Sequence[str]) -> Figure:
    return Figure(fmean(values), *interval_of(values, patients, np.mean))


def median_of(values: Sequence[float], patients: Sequence[str]) -> Figure:
    return Figure(median(values), *interval_of(values, patients, np.median))


def of_humans(pairs: Sequence[LungPair]) -> list[tuple[str, float]]:
    """(patient, Dice) of all pairs that two annotators drew, held out or not: no network is asked."""
    return [(pair.patient, agreement(pair, SIZE)) for pair in pairs if pair.second]


# What may be wrong with a film that is read all the same: picture of any type → the same picture, spoilt; film and mask alike.
SPOILT: dict[str, tuple[Callable[[Gray], Gray], Callable[[Mask], Mask]]] = {
    "as it is": (lambda film: film, lambda mask: mask),
    "inverted": (lambda film: 255 - film, lambda mask: mask),
    "on its side": (lambda film: np.rot90(film), lambda mask: np.rot90(mask)),
    "upside down": (lambda film: film[::-1, ::-1], lambda mask: mask[::-1, ::-1]),
    "cut to the middle three quarters": (lambda film: _middle(film), lambda mask: _middle(mask)),
    "flat, in a wide black frame": (lambda film: _framed(film // 2 + 64), lambda mask: _framed(mask)),
}


def on_spoilt(held: Sequence[Overlap], segmenter: Segmenter, threshold: float = 0.5) -> dict[str, list[float]]:
    """By what is done to a film: the Dice of each of these held-out films, its mask spoilt likewise."""
    found: dict[str, list[float]] = {}
    for name, (of_film, of_mask) in SPOILT.items():
        for one in held:
            drawn = of_mask(one.drawn)
            probability = segmenter.probability(np.ascontiguousarray(of_film(one.film)))
            found.setdefault(name, []).append(dice(_as_large(probability >= threshold, drawn.shape), drawn))
    return found


def _middle(picture: NDArray[Pixel]) -> NDArray[Pixel]:
    edge = picture.shape[0] // 8
    return picture[edge:-edge, edge:-edge]


def _framed(picture: NDArray[Pixel]) -> NDArray[Pixel]:
    return np.pad(picture, picture.shape[0] // 4)


def _as_large(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """The mask at another size, nearest pixels."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]
