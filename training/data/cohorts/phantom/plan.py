"""Which films a spec stands for: every film's patient, scores, outcome and file, drawn before anything is rendered.

Every film has its own generator, seeded by (spec.seed, cohort, index), so a film does not depend on the others nor on the order
in which they are made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from scipy.special import expit

from training.data.cohorts.phantom.severity import draw_zones, intercepts
from training.data.cohorts.phantom.spec import PhantomSpec
from training.data.cohorts.phantom.styles import STYLES

# (centre, folder, id prefix, films) of the three releases of AIforCOVID.
CELLS = (
    ("A", "imgs", "P_", 120), ("B", "imgs", "P_", 104), ("C", "imgs", "P_", 31), ("D", "imgs", "P_", 139),
    ("E", "imgs", "P_", 101), ("F", "imgs", "P_", 325),
    ("F", "imgs_r2", "P_1_", 163), ("C", "imgs_r2", "P_2_", 120), ("F", "imgs_r3", "P_3_", 482),
)  # fmt: skip
# Films per manufacturer in BRIXIA; AGFA appears in two spellings.
MANUFACTURERS = {
    "SIEMENS": 2197, "Carestream Health": 1805, "AGFA": 400, "Agfa-Gevaert": 176, "KODAK": 73, "Villa Sistemi Medicali": 28,
    "FUJIFILM Corporation": 15, "Digitec": 1,
}  # fmt: skip
_COHORTS = {"prognosis": 1, "severity": 2, "lung-masks": 3, "held-out": 4}
_SHAPES = (1.0, 1.0, 0.83, 0.83, 1.2, 0.8, 0.94)  # width over height


@dataclass(frozen=True)
class FilmPlan:
    """One film before it is made. `path` is relative to the root; `seed` and `patient_seed` feed its two generators."""

    path: str
    mask: str | None
    seed: tuple[int, ...]
    patient_seed: tuple[int, ...]
    patient: str
    female: bool
    age: int
    style: str
    scores: tuple[int, ...]
    severe: bool | None
    rows: int
    columns: int
    bits: int
    monochrome1: bool
    syntax: str  # "plain", "rle" or "jpeg2000"; DICOM only
    supine: bool
    tube: bool
    line: bool
    leads: bool
    canvas: int

    @property
    def id(self) -> str:
        """File name without the extension."""
        return PurePosixPath(self.path).stem

    @property
    def extension(self) -> str:
        return PurePosixPath(self.path).suffix

    @property
    def global_score(self) -> int:
        """Brixia global score 0..18."""
        return sum(self.scores)


def shares(total: int, weights: list[int]) -> list[int]:
    """`total` split in proportion to `weights` by largest remainders, at least 1 each while there is enough."""
    floor = 1 if total >= len(weights) else 0
    exact = [(total - floor * len(weights)) * w / sum(weights) for w in weights]
    parts = [int(x) for x in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (parts[i] - exact[i], i))
    for i in by_remainder[: total - floor * len(weights) - sum(parts)]:
        parts[i] += 1
    return [part + floor for part in parts]


def _film(
    spec: PhantomSpec,
    cohort: str,
    index: int,
    stem: str,
    extensions: dict[str, float],
    style: str,
    patient: str,
    patient_index: int | None = None,
) -> FilmPlan:
    """Draws one film. `stem` is the path without the extension; `extensions` maps extension → probability.

    `patient_index` is shared by the films of one patient; without it the film is the only one of its patient.
    """
    seed = (spec.seed, _COHORTS[cohort], index)
    rng = np.random.default_rng((*seed, 0))
    patient_seed = (spec.seed, _COHORTS[cohort], index if patient_index is None else patient_index, 1)
    patient_rng = np.random.default_rng(patient_seed)
    s = np.sqrt(spec.follow_up) * patient_rng.standard_normal() + np.sqrt(1 - spec.follow_up) * rng.standard_normal()
    scores = draw_zones(s, spec.loading, rng)
    severe = None
    if cohort in ("prognosis", "held-out"):
        severe = bool(rng.random() < expit(spec.link * s + intercepts(spec.link)[style]))
    extension = str(rng.choice(list(extensions), p=list(extensions.values())))
    rows, columns = _size(spec, rng)
    folder, name = PurePosixPath(stem).parent, PurePosixPath(stem).name
    return FilmPlan(
        path=stem + extension,
        mask=f"{folder.parent}/masks/{name}.png" if cohort == "lung-masks" else None,
        seed=(*seed, 2),
        patient_seed=patient_seed,
        patient=patient,
        female=bool(patient_rng.random() < 0.4),
        age=int(np.clip(patient_rng.normal(65, 15), 19, 95)),
        style=style,
        scores=scores,
        severe=severe,
        rows=rows,
        columns=columns,
        bits=8 if cohort == "lung-masks" else int(rng.choice(STYLES[style].bits)),
        monochrome1=extension == ".dcm" and bool(rng.random() < STYLES[style].monochrome1),
        syntax=str(rng.choice(("plain", "rle", "jpeg2000"), p=(0.93, 0.03, 0.04))),
        canvas=spec.canvas,
        **_attached(scores, style, rng),
    )


def _attached(scores: tuple[int, ...], style: str, rng: np.random.Generator) -> dict[str, bool]:
    """Position and devices. They follow the visible scores, so they tell nothing about the outcome that the scores do not."""
    load = (sum(scores) - 8.3) / 4.2
    habit = STYLES[style].supine
    odds = {"supine": 0.5 * load + np.log(habit / (1 - habit)), "tube": 0.7 * load - 2.9, "line": 0.6 * load - 2.4}
    odds["leads"] = 0.4 * load - 1.6
    return {name: bool(rng.random() < expit(value)) for name, value in odds.items()}


def _size(spec: PhantomSpec, rng: np.random.Generator) -> tuple[int, int]:
    """Rows and columns within spec.pixels: a few detector formats, one film in twelve cut to an odd shape."""
    low, high = spec.pixels
    shape = rng.uniform(0.65, 1.5) if rng.random() < 1 / 12 else rng.choice(_SHAPES)
    longest = rng.uniform(low + 0.3 * (high - low), high)
    rows, columns = (longest, longest * shape) if shape <= 1 else (longest / shape, longest)
    return max(low, round(rows)), max(low, round(columns))


def prognosis_films(spec: PhantomSpec) -> Iterator[FilmPlan]:
    """The AIforCOVID layout: one film per patient, three releases, six centres."""
    formats = {".dcm": 0.62, ".png": 0.35, ".tif": 0.03}
    index = 0
    numbers: dict[str, int] = {}
    for (centre, folder, prefix, _), count in zip(CELLS, shares(spec.prognosis_films, [c[3] for c in CELLS]), strict=True):
        for _ in range(count):
            # numbers have gaps, as the published ones do
            numbers[prefix] = numbers.get(prefix, 0) + (2 if index % 31 == 17 else 1)
            name = f"{prefix}{numbers[prefix]}"
            yield _film(spec, "prognosis", index, f"AIforCOVID/{folder}/{name}", formats, centre, patient=name)
            index += 1


def severity_films(spec: PhantomSpec) -> Iterator[FilmPlan]:
    """The BRIXIA layout: long numbers as names, several films of some subjects, eight spellings of seven manufacturers."""
    rng = np.random.default_rng((spec.seed, _COHORTS["severity"]))
    n = spec.severity_films
    subjects = min(n, max(1, round(n / spec.films_per_subject)))
    subject = np.concatenate([np.arange(subjects), rng.integers(subjects, size=n - subjects)])
    counts = shares(n, list(MANUFACTURERS.values())) if n >= 100 else [n, *[0] * (len(MANUFACTURERS) - 1)]
    makers = rng.permutation(np.repeat(list(MANUFACTURERS), counts))
    names = _numbers(n, rng)
    for i in range(n):
        code = 1000 + int(subject[i])
        yield _film(
            spec, "severity", i, f"BRIXIA/dicom_clean/{names[i]}", {".dcm": 1.0}, str(makers[i]), patient=f"PH{code}",
            patient_index=int(subject[i]),
        )  # fmt: skip


def _numbers(n: int, rng: np.random.Generator) -> list[str]:
    """n different file numbers up to 2⁶⁴, about half of them above the largest signed 64-bit integer."""
    chosen: dict[str, None] = {}
    while len(chosen) < n:
        chosen[str(rng.integers(10**17, 2**64, dtype=np.uint64))] = None
    return list(chosen)


def lung_films(spec: PhantomSpec) -> Iterator[FilmPlan]:
    """Films with their lung masks, all styles in turn."""
    for i, style in zip(range(spec.lung_pairs), _in_turn(), strict=False):
        name = f"phantom_{i:04d}"
        yield _film(spec, "lung-masks", i, f"lung-masks/images/{name}", {".png": 1.0}, style, patient=f"PHANTOM-LM-{i}")


def held_out_films(spec: PhantomSpec) -> Iterator[FilmPlan]:
    """Films in no table, PNG and DICOM in turn, centres in turn."""
    for i in range(spec.held_out_films):
        formats = {(".png", ".dcm")[i % 2]: 1.0}
        yield _film(spec, "held-out", i, f"held-out/held_out_{i + 1}", formats, "ABCDEF"[i % 6], patient=f"PHANTOM-HO-{i + 1}")


def _in_turn() -> Iterator[str]:
    while True:
        yield from STYLES
