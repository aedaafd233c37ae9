"""real-cxr: the four experiments on a few hundred real public chest X-rays.

Source    the folder layout of `training.data.cohorts.public_cxr` (see there how to build it from the public sources)
Command   mdmt run --recipe real-cxr [--data DIR]
Cost      24 minutes on 2 cores, and 8 for the lung U-Net
Expected  AUC of prognosis about 0.9 from ImageNet weights and 0.8 from scratch, partly because view and devices give the outcome away
          (README, limits); severity accuracy 0.35 to 0.5; multi-task training does not help on so few films
"""

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import PUBLIC_COHORTS, PUBLIC_FOLDERS
from training.settings import Training


def recipe() -> Recipe:
    return Recipe(
        name="real-cxr",
        description="public films: 328 with an outcome, 136 with a Brixia score; 5-fold CV",
        data=PUBLIC_FOLDERS,
        cohorts=PUBLIC_COHORTS,
        segmenter=SegmenterChoice(preset="real"),
        pipeline=PipelineSpec(size=160),
        backbones=(
            BackboneChoice(name="efficientnet_lite0", weights="imagenet"),
            BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch"),
        ),
        schemes=(Scheme(kind="cv", folds=5),),
        training=Training(batch_size=16, max_epochs=16, patience=5, warmup_epochs=2, dropout=0.3),
        experiments=("stl-prognosis", "stl-severity", "ft", "mdmt"),
        batch_norm="reestimate",
        registered_name="mdmt-real-cxr",
    )
