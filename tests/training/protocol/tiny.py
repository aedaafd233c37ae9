"""A recipe of one small backbone, and cohorts of rows without films, for tests that expand plans."""

from pathlib import Path

from cxr.pipeline import PipelineSpec
from training.data.cohort import Cohort, Row
from training.data.films import FilmStore
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import PHANTOM_COHORTS
from training.settings import Training

SMALLEST = BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch")


def tiny_recipe(**changes: object) -> Recipe:
    """Two-fold cross-validation, two epochs at 64 pixels, unless changed."""
    fields: dict[str, object] = {
        "name": "tiny",
        "description": "as small as it gets",
        "data": ("nowhere",),
        "cohorts": PHANTOM_COHORTS,
        "segmenter": SegmenterChoice(preset="smoke"),
        "pipeline": PipelineSpec(size=64),
        "backbones": (SMALLEST,),
        "schemes": (Scheme(kind="cv", folds=2),),
        "training": Training(batch_size=16, max_epochs=2, patience=2, warmup_epochs=0, hidden=16),
    }
    return Recipe(**{**Recipe(**fields).model_dump(), **changes})


def rows_only(name: str, task: str, classes: int, patients: int = 24, prefix: str = "") -> Cohort:
    """Two films a patient in three of four cases; centres A, B, C; releases 1, 2 and 3."""
    rows = []
    for i in range(patients):
        for k in range(1 if i % 4 == 0 else 2):
            attributes = {"release": str(1 + i % 3)}
            rows.append(
                Row(f"{i:02}-{k}", Path("film.png"), f"{prefix or name}{i}", "ABC"[i // 3 % 3], {task: i % classes}, attributes)
            )
    return Cohort(name, tuple(rows))


def stores_of(cohorts: tuple[Cohort, ...], shift: int = 0, **digests: str) -> dict[str, FilmStore]:
    """Stores in which every film has a digest of its own; `digests` gives others by "<cohort>_<row id>"."""
    made = {}
    for one in cohorts:
        entries = {
            row.id: {
                "slot": i + shift,
                "digest": digests.get(f"{one.name}_{row.id}", f"{one.name}/{row.id}"),
                "verdict": "both-lungs",
            }
            for i, row in enumerate(one.rows)
        }
        made[one.name] = FilmStore(Path(one.name), 64, entries)
    return made
