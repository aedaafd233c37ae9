"""Whether both lungs are found, on every frontal film there is: those of the cohorts, and those on which lungs were drawn."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from cxr.intensity import to_gray8
from cxr.pipeline import PipelineSpec, look
from cxr.reading import read
from cxr.segmentation import Segmenter, Verdict, judge
from training.data.cohort import Cohort
from training.data.films import FilmStore
from training.data.lung_pairs import LungPair
from training.evidence.rates import Rate

FRONTAL = ("", "PA", "AP")  # how a pair's view may begin; the first: not stated
DRAWN = "films with drawn lungs"


class Looked(NamedTuple):
    """One film: what was found on it (a Verdict, "" where it could not be prepared), and whether its patient taught or chose the U-Net."""

    verdict: str
    seen: bool


def of_cohort(cohort: Cohort, store: FilmStore, seen: Collection[str]) -> list[Looked]:
    """Every film of the cohort's table, as it was prepared; `seen` are the patients of the U-Net."""
    return [Looked(str(store.entries[row.id].get("verdict", "")), row.patient in seen) for row in cohort.rows]


def of_pairs(
    pairs: Sequence[LungPair], spec: PipelineSpec, segmenter: Segmenter, seen: Collection[str]
) -> dict[str, list[Looked]]:
    """By source of the pair: what is found on its film, looked at as films are prepared. Views that are not frontal are left out."""
    found: dict[str, list[Looked]] = {}
    for pair in pairs:
        if (pair.view.split() or [""])[0] in FRONTAL:
            gray = to_gray8(read(pair.image.read_bytes()).pixels, spec.low, spec.high)
            verdict = judge(look(gray, spec, segmenter).lungs)
            source = f"{pair.source or 'no source named'}, {DRAWN}"
            found.setdefault(source, []).append(Looked(verdict, pair.patient in seen))
    return found


def together(sources: Mapping[str, Sequence[Looked]]) -> list[Looked]:
    return [film for films in sources.values() for film in films]


def both(films: Sequence[Looked]) -> Rate:
    """On how many of these films, one or more, two lungs were found."""
    return Rate(sum(film.verdict == Verdict.BOTH_LUNGS for film in films), len(films))


def unseen(films: Sequence[Looked]) -> list[Looked]:
    """Those of patients that the U-Net has not seen."""
    return [film for film in films if not film.seen]
