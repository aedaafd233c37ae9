"""real-prognosis: the paper's question on real films. Does learning severity too help to foretell the outcome?

Source    as `real-cxr`
Command   make real-prognosis   (this recipe, its controls, and docs/evidence.md; each finds what an earlier call has done)
Cost      with its variants 322 trainings, whose epochs take 264 minutes of one thread: 2¼ hours on 2 cores
Expected  cross-validation, 4 backbones × 2 seeds: MDMT is 2.3 points of ACC above STL τ1 (one-tailed p = 0.009, with Holm's correction
          0.07), and 0.9 below FT. View position alone does as well as the networks. See docs/evidence.md
"""

from typing import Any

from cxr.pipeline import PipelineSpec
from cxr.tasks import ZONES
from training.protocol.experiments import Experiment
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, SegmenterChoice, Subset
from training.protocol.recipes import PUBLIC_COHORTS, PUBLIC_FOLDERS, public_films
from training.settings import Training

BACKBONES = (
    BackboneChoice(name="efficientnet_lite0", weights="imagenet"),
    BackboneChoice(name="mobilenet_v2", weights="scratch"),
    BackboneChoice(name="resnet18", weights="scratch"),
    BackboneChoice(name="shufflenet_v2_x1_0", weights="scratch"),
)
# Films from before intensive care, or of patients who were not there then: on the others the outcome has happened already.
HONEST = Subset(name="honest", keep={"prognosis": {"phase": ("before_icu", "not_in_icu"), "confidence": ("high",)}})
WITH_ZONES = Experiment(
    name="mdmt-zones",
    title="MDMT with zones",
    tasks=("prognosis", "severity", *(zone.name for zone in ZONES)),
    parents=("stl-prognosis", "stl-severity"),
)


def recipe(**changes: Any) -> Recipe:
    return Recipe(**({
        "name": "real-prognosis",
        "description": "328 public films with an outcome, 136 with a Brixia score; CV by patient and leaving centres out",
        "data": PUBLIC_FOLDERS,
        "cohorts": PUBLIC_COHORTS,
        "segmenter": SegmenterChoice(preset="real"),
        "pipeline": PipelineSpec(size=96),
        "backbones": BACKBONES,
        "schemes": (
            Scheme(kind="cv", folds=5, repeats=2),
            Scheme(kind="loco", primary="prognosis", centres=("EAST_ASIA", "HANNOVER", "ITALY")),
        ),
        "subsets": (Subset(name="all"),),
        "training": Training(batch_size=16, max_epochs=12, patience=4, warmup_epochs=2, dropout=0.3, learning_rate=5e-4),
        "experiments": ("stl-prognosis", "stl-severity", "ft", "mdmt"),
        "own_experiments": (WITH_ZONES,),
        "batch_norm": "reestimate",
        "registered_name": "mdmt-real",
        "evidence": "prognosis",
    } | changes))  # fmt: skip


def variants() -> dict[str, Recipe]:
    """Zones as further tasks; the honest films; controls: what is left when the label, or all but the lungs, is taken away."""
    once = (Scheme(kind="cv", folds=5),)
    alone: dict[str, Any] = {"backbones": BACKBONES[:1], "schemes": once, "experiments": ("stl-prognosis",), "evidence": None}
    given = {
        "zones": {
            "description": "zones as further tasks of MDMT",
            "backbones": (BACKBONES[0], BACKBONES[2]),
            "experiments": ("mdmt", WITH_ZONES.name),
            "schemes": (*once, recipe().schemes[1]),
            "evidence": None,
        },
        "honest": {
            "description": "films from before intensive care",
            "backbones": (BACKBONES[0], BACKBONES[3]),
            "subsets": (HONEST,),
            "schemes": once,
            "evidence": None,
        },
        "masked": alone | {"description": "lungs alone", "pipeline": PipelineSpec(size=96, crop="masked")},
        "shuffled": alone
        | {
            "description": "outcomes shuffled among patients",
            "cohorts": (public_films("prognosis", shuffled=True), PUBLIC_COHORTS[1]),
        },
    }
    return {name: recipe(name=f"real-prognosis+{name}", **changes) for name, changes in given.items()}
