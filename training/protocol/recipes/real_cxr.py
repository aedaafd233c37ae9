"""real-cxr: the four experiments on a few hundred real public chest X-rays.

Source    the folder layout of `training.data.cohorts.public_cxr` (see there how to build it from the public sources)
Command   mdmt run --recipe real-cxr [--data DIR]
Cost      under an hour on 2 cores; the README has the measured time
Expected  prognosis well above chance, partly because view and devices give the outcome away (README, limits); severity near the
          agreement of two radiologists is out of reach for this number of films; differences between experiments within one sd
"""

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import BackboneChoice, CohortSource, Recipe, Scheme, SegmenterChoice
from training.settings import Training


def recipe() -> Recipe:
    return Recipe(
        name="real-cxr",
        description="public films: 328 with an outcome, 136 with a Brixia score; 5-fold CV",
        data=("data/real-cxr", "../shared/data/real-cxr"),
        cohorts=(
            CohortSource(name="prognosis", reader="public_cxr", path=".", options={"part": "prognosis"}),
            CohortSource(name="severity", reader="public_cxr", path=".", options={"part": "severity"}),
        ),
        segmenter=SegmenterChoice(preset="real"),
        pipeline=PipelineSpec(size=160),
        backbones=(
            BackboneChoice(name="efficientnet_lite0", weights="imagenet"),
            BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch"),
        ),
        schemes=(Scheme(kind="cv", folds=5),),
        training=Training(batch_size=16, max_epochs=16, patience=5, warmup_epochs=2, dropout=0.3),
        registered_name="mdmt-real-cxr",
    )
