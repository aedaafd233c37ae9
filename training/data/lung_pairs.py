"""Films with hand-drawn lungs, for the segmentation U-Net: a folder with `pairs.csv` → pairs → split by patient → arrays.

The paper trains its U-Net on other people's masks (section 3.1), and people draw two kinds of lung. A pair therefore says which
kind its mask is; pooling them would teach the average of both, which nobody drew.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.intensity import to_gray8
from cxr.reading import read
from training.data.cohort import CohortError

NAME = "lung-masks"
BEHIND_HEART = "lung incl. the part behind the heart"
WITHOUT_HEART = "lung without the heart"
# Every spelling that data sets use. An unlisted one is refused: a guess here would silently mix two kinds of lung.
SPELLINGS: Mapping[str, str] = {
    BEHIND_HEART: BEHIND_HEART,
    "lung fields incl. the part behind heart": BEHIND_HEART,
    WITHOUT_HEART: WITHOUT_HEART,
    "lung fields without heart (classical)": WITHOUT_HEART,
}
COLUMNS = ("id", "image", "mask", "patient_id", "definition")
OPTIONAL = ("second_mask", "dataset", "view")


@dataclass(frozen=True)
class LungPair:
    """A film and its mask, a 0/255 PNG of the film's size. `definition` is BEHIND_HEART or WITHOUT_HEART; `second` is the mask of another
    annotator where there is one, `source` the collection that the pair is from and `view` how the film was taken ("PA", "AP Supine", …),
    empty where the table does not say."""

    id: str
    image: Path
    mask: Path
    patient: str
    definition: str
    second: Path | None = None
    source: str = ""
    view: str = ""


@dataclass(frozen=True)
class PairSplit:
    """Pairs by role; no patient has two roles."""

    train: tuple[LungPair, ...]
    val: tuple[LungPair, ...]
    test: tuple[LungPair, ...]


@dataclass(frozen=True)
class PairArrays:
    """Pairs at the network's size. `films` uint8 (N, S, S) gray, `lungs` bool (N, S, S), `definitions` N spellings."""

    films: NDArray[np.uint8]
    lungs: NDArray[np.bool_]
    definitions: tuple[str, ...]


def read_pairs(root: Path) -> tuple[LungPair, ...]:
    """`root`/pairs.csv (columns COLUMNS, and if there are any those of OPTIONAL; paths relative to `root`) → pairs sorted by id.
    CohortError lists all that is wrong.
    """
    from training.data.cohorts.tables import (
        read_table,
        records,
    )  # pandas: recipes know kinds of lung from here and do not wait for it

    table = root / "pairs.csv"
    if not table.is_file():
        raise CohortError(NAME, [f"{table} is not there; needed: a CSV file with the columns {', '.join(COLUMNS)}"])
    listed = list(records(read_table(NAME, table, COLUMNS, OPTIONAL)))
    times = Counter(cells["id"] for _, cells in listed if cells["id"])
    problems = [f"{name}: listed {n} times; once is allowed" for name, n in times.items() if n > 1]
    pairs = []
    for number, cells in listed:
        if empty := [column for column in COLUMNS if column != "patient_id" and not cells[column]]:
            problems.append(f"pairs.csv row {number}: nothing in {', '.join(empty)}; every pair has {', '.join(COLUMNS)}")
            continue
        pairs.append(_pair(root, cells))
        problems += _problems(root, pairs[-1], cells["definition"])
    if problems or not pairs:
        raise CohortError(NAME, problems or ["pairs.csv has no rows"])
    return tuple(sorted(pairs, key=lambda pair: pair.id))


def _pair(root: Path, cells: Mapping[str, str]) -> LungPair:
    return LungPair(
        id=cells["id"], image=root / cells["image"], mask=root / cells["mask"], patient=cells["patient_id"],
        definition=SPELLINGS.get(cells["definition"], ""), second=root / second if (second := cells.get("second_mask")) else None,
        source=cells.get("dataset", ""), view=cells.get("view", ""),
    )  # fmt: skip


def _problems(root: Path, pair: LungPair, definition: str) -> list[str]:
    """Files that are not there, a patient without a key, a `definition` that means no kind of lung."""
    files = [("image", pair.image), ("mask", pair.mask), *([("second mask", pair.second)] if pair.second else [])]
    problems = [f"{pair.id}: {kind} {path.relative_to(root)} is missing" for kind, path in files if not path.is_file()]
    if not pair.patient:
        problems.append(f"{pair.id}: patient_id is empty; a key per person keeps their films together")
    if not pair.definition:
        problems.append(f"{pair.id}: definition {definition!r} is unknown; allowed: {', '.join(map(repr, SPELLINGS))}")
    return problems


def split_pairs(pairs: Sequence[LungPair], seed: int, val: float = 0.15, test: float = 0.15) -> PairSplit:
    """Split by patient, separately per definition so that each is measured on its share of patients.

    Patients are ranked by SHA-256 of (seed, patient): neither row order nor Python's hash seed matters. A patient with both kinds
    of masks goes with the first of their definitions. Every definition needs three patients, one for each role.
    """
    definition = {pair.patient: pair.definition for pair in sorted(pairs, key=lambda pair: pair.definition, reverse=True)}
    roles: dict[str, str] = {}
    for wanted in sorted(set(definition.values())):
        patients = sorted((p for p, d in definition.items() if d == wanted), key=lambda p: _rank(seed, p))
        n_test, n_val = (max(1, round(share * len(patients))) for share in (test, val))
        if n_test + n_val >= len(patients):
            raise ValueError(
                f"{len(patients)} patient(s) with {wanted!r} cannot be split into train, {val:.0%} val and {test:.0%} test; "
                "give at least three patients per definition"
            )
        roles |= dict.fromkeys(patients, "train")
        roles |= dict.fromkeys(patients[:n_test], "test") | dict.fromkeys(patients[n_test : n_test + n_val], "val")
    ranked = sorted(pairs, key=lambda pair: pair.id)
    by_role = {role: tuple(pair for pair in ranked if roles[pair.patient] == role) for role in ("train", "val", "test")}
    return PairSplit(**by_role)


def load_arrays(pairs: Sequence[LungPair], size: int) -> PairArrays:
    """Pairs → arrays: films read as serving reads them, then both squeezed to `size`×`size`; a pixel half covered is lung."""
    films, lungs = np.empty((len(pairs), size, size), np.uint8), np.empty((len(pairs), size, size), np.bool_)
    for i, pair in enumerate(pairs):
        gray = to_gray8(read(pair.image.read_bytes()).pixels)
        films[i] = np.asarray(Image.fromarray(gray).resize((size, size), Image.Resampling.BILINEAR))
        lungs[i] = _squeezed(pair, pair.mask, gray.shape, size)
    return PairArrays(films, lungs, tuple(pair.definition for pair in pairs))


def agreement(pair: LungPair, size: int) -> float:
    """Dice of two annotators on one film, both masks squeezed to `size`×`size` as `load_arrays` does. ValueError for a pair without
    a second mask."""
    if pair.second is None:
        raise ValueError(f"{pair.id} has no second mask; agreement is of pairs that have one")
    with Image.open(pair.mask) as stored:
        shape = (stored.height, stored.width)
    first, second = (_squeezed(pair, path, shape, size) for path in (pair.mask, pair.second))
    return dice(first, second)


def _squeezed(pair: LungPair, path: Path, shape: tuple[int, ...], size: int) -> NDArray[np.bool_]:
    """A mask (H, W) of `shape`, its film's → bool (size, size)."""
    with Image.open(path) as stored:
        mask = stored.convert("L")
    if mask.size != shape[::-1]:
        name = "mask" if path == pair.mask else "second mask"
        raise CohortError(NAME, [f"{pair.id}: the {name} is {mask.size}, its film {shape[::-1]} (width, height)"])
    lungs: NDArray[np.bool_] = np.asarray(mask.resize((size, size), Image.Resampling.BILINEAR)) >= 128
    return lungs


def dice(found: NDArray[np.bool_], drawn: NDArray[np.bool_]) -> float:
    """Overlap of two masks of equal shape, 2·|A ∩ B| / (|A| + |B|): 0..1, and 0 when both are empty."""
    return 2 * float((found & drawn).sum()) / max(1, int(found.sum() + drawn.sum()))


def _rank(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}:{patient}".encode()).hexdigest()
