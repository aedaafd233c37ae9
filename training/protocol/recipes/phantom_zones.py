"""phantom-zones: the six zones of phantoms, learnt so that a network of real films can start from there (`mdmt starts unit`).

Source    `mdmt phantom --folder state/zones-phantom --prognosis 9 --severity 1200`
Command   make phantom-zones   (part of `make real-model` and `make real-severity`)
Cost      10 minutes on 2 cores, and 5 for phantoms and their U-Net
Expected  nothing of itself: see `real`, which starts from it
"""

from cxr.pipeline import PipelineSpec
from cxr.tasks import SEVERITY, ZONES
from training.protocol.experiments import Experiment
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import PHANTOM_COHORTS
from training.settings import Training

SCORES = (SEVERITY.name, *(zone.name for zone in ZONES))
SCORED = Experiment(name="zones", title="zones as tasks, ordinal loss", tasks=SCORES, training={"ranked": list(SCORES)})


def recipe() -> Recipe:
    return Recipe(
        name="phantom-zones",
        description="1,200 phantoms with a Brixia score, the lungs alone; two folds",
        data=("state/zones-phantom",),
        cohorts=PHANTOM_COHORTS[1:],
        headline="severity",
        segmenter=SegmenterChoice(preset="demo"),
        pipeline=PipelineSpec(size=160, crop="masked"),
        backbones=(BackboneChoice(name="efficientnet_lite0", weights="imagenet"),),
        experiments=(SCORED.name,),
        own_experiments=(SCORED,),
        schemes=(Scheme(kind="cv", folds=2),),
        training=Training(
            batch_size=16, max_epochs=10, patience=3, warmup_epochs=2, dropout=0.3, learning_rate=5e-4, pooling="lungs"
        ),
    )
