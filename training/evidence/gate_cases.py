"""What the gate is shown: films of cohorts, the same films turned, and pictures of other things."""

from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.errors import FilmError, NotFrontalChest
from cxr.gate import Gate
from cxr.intensity import to_gray8
from cxr.measures import Measured, measure
from cxr.pipeline import PipelineSpec, look, prepare
from cxr.quality import flags
from cxr.reading import TRAINING, read
from cxr.segmentation import Segmenter
from training.data.cohort import Cohort
from training.input_gate import SPOILING, GateFilm

AS_IT_IS = "as it is"
Gray = NDArray[np.uint8]
# How a film may be spoilt: as the gate was shown it, and in ways that it was not. The names are of what was done: remedies undo
# themselves, but for the two rotations, which undo each other.
UNSHOWN: dict[str, Callable[[Gray], Gray]] = {
    "lower half (not shown in fitting)": lambda gray: gray[gray.shape[0] // 2 :],
    "left half (not shown in fitting)": lambda gray: gray[:, : gray.shape[1] // 2],
    "inverted and upside down (not shown in fitting)": lambda gray: 255 - gray[::-1, ::-1],
}
SPOILT = SPOILING | {"rotated-left": SPOILING["rotated-right"], "rotated-right": SPOILING["rotated-left"]} | UNSHOWN


class Shown(NamedTuple):
    """One film: its measures by kind of picture, None where the segmenter finds no lungs."""

    cohort: str
    patient: str
    measured: dict[str, Measured | None]


def of_cohorts(cohorts: Sequence[Cohort], spec: PipelineSpec, segmenter: Segmenter, most: int) -> Iterator[Shown]:
    """Up to `most` films of each cohort, as they are and spoilt in one way, every second one in all ways."""
    kinds = list(SPOILING)
    for cohort in cohorts:
        order = np.random.default_rng(1).permutation(len(cohort.rows))[:most]
        for number, row in enumerate(cohort.rows[i] for i in sorted(order)):
            try:
                gray = to_gray8(read(row.image.read_bytes(), formats=TRAINING).pixels, spec.low, spec.high)
            except FilmError:
                continue
            chosen = SPOILT if number % 2 == 0 else {(kind := kinds[number // 2 % len(kinds)]): SPOILT[kind]}
            pictures = {AS_IT_IS: gray} | {kind: np.ascontiguousarray(spoil(gray)) for kind, spoil in chosen.items()}
            seen = {kind: look(picture, spec, segmenter) for kind, picture in pictures.items()}
            measured = {kind: measure(found) if found.lungs.any() else None for kind, found in seen.items()}
            yield Shown(cohort.name, row.patient, measured)


def as_fitted(films: Sequence[Shown]) -> list[GateFilm]:
    """Films as a gate is fitted to them: with one spoilt copy each, the ways in turn."""
    kinds, found = list(SPOILING), []
    for number, film in enumerate(films):
        if (whole := film.measured[AS_IT_IS]) is not None:
            spoilt = next(kind for kind in kinds[number % len(kinds) :] + kinds if kind in film.measured)
            found.append(GateFilm(film.cohort, film.patient, whole, film.measured[spoilt]))
    return found


class Said(NamedTuple):
    """What the service says to a file: its quality flags, or the code of the refusal and the gate's reason; and the gate's score."""

    code: str = ""
    reason: str = ""
    score: float | None = None
    flags: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        return not self.code

    def __str__(self) -> str:
        return " ".join(filter(None, (self.code, self.reason))) or ", ".join(("answered", *self.flags))


def outcome(data: bytes, spec: PipelineSpec, segmenter: Segmenter, gate: Gate) -> Said:
    """What the service says to a file."""
    try:
        film = prepare(data, spec, segmenter, gate=gate)
    except NotFrontalChest as error:
        return Said(error.code, error.reason, error.score)
    except FilmError as error:
        return Said(error.code)
    return Said(score=film.score, flags=tuple(map(str, flags(film, spec))))


def other_pictures() -> dict[str, bytes]:
    """Gray copies of the photographs that scikit-learn and Matplotlib bring along, and generated patterns."""
    photographs = {
        "photograph: temple": resources.files("sklearn.datasets") / "images" / "china.jpg",
        "photograph: flower": resources.files("sklearn.datasets") / "images" / "flower.jpg",
        "photograph: portrait": resources.files("matplotlib") / "mpl-data" / "sample_data" / "grace_hopper.jpg",
    }
    pictures = {name: Image.open(BytesIO(path.read_bytes())).convert("L") for name, path in photographs.items() if path.is_file()}
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    patterns = {
        "pattern: noise": rng.integers(0, 256, (512, 512)),
        "pattern: gradient": 127 * (x + 1),
        "pattern: chessboard": 255 * ((np.floor(6 * x) + np.floor(6 * y)) % 2),
        "pattern: two dark ellipses": np.where(((np.abs(x) - 0.45) / 0.25) ** 2 + (y / 0.6) ** 2 < 1, 40, 200),
        "pattern: text page": np.where((np.sin(80 * y) > 0) & (rng.random((512, 512)) > 0.5), 0, 255),
    }
    pictures |= {name: Image.fromarray(np.asarray(pattern).astype(np.uint8)) for name, pattern in patterns.items()}
    return {name: _png(picture) for name, picture in pictures.items()}


def oddities(folder: Path) -> dict[str, bytes]:
    """Files of the real pack's folder of oddities, by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix != ".csv"} if folder.is_dir() else {}


def _png(picture: Image.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
