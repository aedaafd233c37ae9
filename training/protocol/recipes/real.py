"""real: a network of real films to be served: outcome and severity at once, zones by two readers learnt along and not answered.

Source    as `real-cxr`. The choices are those that docs/evidence.md speaks for: efficientnet_lite0 from ImageNet weights, 160 px, zones and
          the second reader as further tasks, ordinal loss. Eight views in evaluation helped nothing that is shown, and serving has one
Command   make real-model   (mdmt run, register and promote), then mdmt serve --name mdmt-public
Cost      6 trainings: five folds and the refit
Expected  not measured yet. Prognosis as in `real-cxr` and for its reasons no evidence of prognosis; of severity, zones with one view and
          no phantoms have the senior's category on 53 % of the films (`real-severity`, "zones as tasks, ordinal loss")
"""

from typing import Any

from cxr.pipeline import PipelineSpec
from cxr.tasks import PROGNOSIS, SECOND, SECOND_ZONES, SEVERITY, ZONES
from training.protocol.experiments import Experiment
from training.protocol.recipe import SERVED, BackboneChoice, Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import PUBLIC_COHORTS, PUBLIC_FOLDERS
from training.settings import Training

SCORES = (SEVERITY.name, SECOND.name, *(zone.name for zone in (*ZONES, *SECOND_ZONES)))
BOTH = Experiment(
    name=SERVED,
    title="MDMT with zones by both readers",
    tasks=(PROGNOSIS.name, *SCORES),
    answers=(PROGNOSIS.name, SEVERITY.name),
    training={"ranked": list(SCORES)},
)


def recipe(**changes: Any) -> Recipe:
    return Recipe(**({
        "name": "real",
        "description": "328 public films with an outcome, 136 with scores of two radiologists; zones learnt along; 5-fold CV by patient",
        "data": PUBLIC_FOLDERS,
        "cohorts": PUBLIC_COHORTS,
        "segmenter": SegmenterChoice(preset="real"),
        "pipeline": PipelineSpec(size=160),
        "backbones": (BackboneChoice(name="efficientnet_lite0", weights="imagenet"),),
        "schemes": (Scheme(kind="cv", folds=5),),
        "training": Training(batch_size=16, max_epochs=18, patience=5, warmup_epochs=3, dropout=0.3, learning_rate=5e-4),
        "experiments": (SERVED,),
        "own_experiments": (BOTH,),
        "registered_name": "mdmt-public",
        "evidence": "served",
    } | changes))  # fmt: skip


def variants() -> dict[str, Recipe]:
    """Lungs alone, and nothing else counted: does the network lose anything by it, and where does it look then?"""
    lungs = {
        "description": "the same on the lungs alone, averaged over the lungs",
        "pipeline": PipelineSpec(size=160, crop="masked"),
        "training": recipe().training.model_copy(update={"pooling": "lungs"}),
        "registered_name": "mdmt-public-lungs",
        "evidence": None,
    }
    return {"lungs": recipe(name="real+lungs", **lungs)}
