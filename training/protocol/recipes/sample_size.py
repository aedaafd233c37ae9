"""sample-size: from how many films with an outcome on does learning severity too no longer help?

Source    phantoms: 480 with an outcome, 480 with a Brixia score, with the demo's link between both: `mdmt phantom --folder
          state/sample-size-phantom --prognosis 480 --severity 480`
Command   make sample-size   (this recipe, then its part of docs/evidence.md)
Cost      144 trainings, whose epochs take 49 minutes of one thread
Expected  MDMT is above STL τ1 by 29.7 points of AUC with 60 films, 17.7 with 120, 7.8 with 240, 6.9 with 480 (480 with a score each);
          by 3.1 with 328 films and 136 scores, as many as there are public ones
"""

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import BackboneChoice, Recipe, Running, Scheme, SegmenterChoice, Subset
from training.protocol.recipes import PHANTOM_COHORTS
from training.settings import Training

SIZES = (60, 120, 240, 480)
AS_PUBLIC = {"aiforcovid": 328, "brixia": 136}  # as many as there are public films: more outcomes than scores


def recipe() -> Recipe:
    return Recipe(
        name="sample-size",
        description="phantoms: 60 to 480 films with an outcome beside 480 with a Brixia score, and 328 beside 136; three seeds",
        data=("state/sample-size-phantom",),
        cohorts=PHANTOM_COHORTS,
        segmenter=SegmenterChoice(preset="demo"),
        pipeline=PipelineSpec(size=64),
        backbones=tuple(BackboneChoice(name=name, weights="scratch") for name in ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0")),
        experiments=("stl-prognosis", "stl-severity", "mdmt"),
        schemes=(Scheme(kind="cv", folds=2, repeats=3),),
        subsets=(
            *(Subset(name=f"{films}-films", at_most={"aiforcovid": films}) for films in SIZES),
            Subset(name="as-public", at_most=AS_PUBLIC),
        ),
        training=Training(batch_size=16, max_epochs=24, patience=8, warmup_epochs=4, dropout=0.3),
        batch_norm="reestimate",
        running=Running(pictures="groups"),
        evidence="films",
    )
