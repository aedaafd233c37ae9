"""smoke: the whole protocol in seconds, for tests. The figures mean nothing.

Source    phantom films in the layouts of AIforCOVID and BRIXIA
Command   mdmt run --recipe smoke --data DIR
Cost      about half a minute on 2 cores
Expected  every stage runs; nothing is learned
"""

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import PHANTOM_COHORTS
from training.settings import Training


def recipe() -> Recipe:
    return Recipe(
        name="smoke",
        description="phantoms, two epochs: does everything run?",
        data=("state/phantom",),
        cohorts=PHANTOM_COHORTS,
        segmenter=SegmenterChoice(preset="smoke"),
        pipeline=PipelineSpec(size=64),
        backbones=(BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch"),),
        schemes=(Scheme(kind="cv", folds=2),),
        training=Training(batch_size=16, max_epochs=2, patience=2, warmup_epochs=0, hidden=16),
    )
