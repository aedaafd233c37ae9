"""real: a network of real films to be served: outcome and severity at once, zones by two readers learnt along and not answered.

Source    as `real-cxr`. The choices are those that docs/evidence.md speaks for: efficientnet_lite0, 160 px, zones and the second reader as
          further tasks, ordinal loss; begun with the zones of phantoms (`phantom-zones`), weights averaged over steps. Eight views in
          evaluation helped nothing that is shown, and serving has one. Heads are given the mean over the lungs alone, so that no answer
          comes from a tube or a letter beside them
Command   make real-model   (mdmt run, register and promote), then mdmt serve --name mdmt-public
Cost      6 trainings: five folds, whose epochs take 12 minutes of one thread on an AMD EPYC with AVX-512 (Zen 4), 40 on the Xeon, and
          the refit; 10 more for the variants, 46 minutes on the AMD; 15 minutes of 2 cores for phantoms and what is learnt from them
Expected  severity: the senior's category on 57.4 % of the films, κ 0.69 (the junior 70.6 %, 0.83); prognosis: AUC 84.8 by film, 78.5 by
          the view alone, and no evidence of prognosis, for the reasons of `real-cxr`; 0.88 to 0.91 of what speaks for an answer on the
          lungs. `real+close`, each zone close up, at twice the work of the network: 55.9 %, 0.70; 84.2; 0.94. `real+box`, from
          ImageNet, the film in the lungs' box as in the paper: 51.5 %, 0.58; 87.1; 0.45 to 0.52 on the lungs. With a quarter of the films
          to validate `real` has 58.1 %, 0.67, on another processor 59.6 %, 0.72; 85.8. See docs/evidence.md
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
        "description": "328 public films with an outcome, 136 with scores of two radiologists; the lungs alone; 5-fold CV by patient",
        "data": PUBLIC_FOLDERS,
        "cohorts": PUBLIC_COHORTS,
        "segmenter": SegmenterChoice(preset="real"),
        "pipeline": PipelineSpec(size=160, crop="masked"),
        "backbones": (BackboneChoice(name="efficientnet_lite0", weights="phantom-zones"),),
        "schemes": (Scheme(kind="cv", folds=5),),
        "val_fraction": 0.1,  # of what is served they choose the epoch only: it is calibrated by the films that the folds tested
        "training": Training(
            batch_size=16,
            max_epochs=18,
            patience=6,
            warmup_epochs=3,
            dropout=0.3,
            learning_rate=5e-4,
            pooling="lungs",
            averaging=0.98,
        ),
        "experiments": (SERVED,),
        "own_experiments": (BOTH,),
        "registered_name": "mdmt-public",
        "evidence": "served",
    } | changes))  # fmt: skip


def variants() -> dict[str, Recipe]:
    """Each zone of the lungs close up; and the film in the lungs' box from ImageNet, as in the paper: what is lost by not seeing the rest
    of it, and where do both look?"""
    plain = recipe().training
    close = {
        "description": "each zone of the lungs looked at alone and close up",
        "pipeline": PipelineSpec(size=256, crop="masked"),
        "training": plain.model_copy(update={"pooling": "zones"}),
        "registered_name": "mdmt-public-close",
        "evidence": None,
    }
    box = {
        "description": "all that is in the lungs' box, averaged everywhere; from ImageNet, one epoch's weights in place of averaged ones",
        "pipeline": PipelineSpec(size=160),
        "backbones": (BackboneChoice(name="efficientnet_lite0", weights="imagenet"),),
        "training": plain.model_copy(update={"pooling": "everywhere", "averaging": 0.0}),
        "registered_name": "mdmt-public-box",
        "evidence": None,
    }
    return {"close": recipe(name="real+close", **close), "box": recipe(name="real+box", **box)}
