"""link: does multi-task learning work for the reason the paper gives? Severity drives the outcome here, and few films have an outcome.

Source    phantoms of which 100 have an outcome and 480 a Brixia score; the outcome follows severity closely: `mdmt phantom --folder
          state/link-phantom --prognosis 100 --severity 480 --loading 0.95 --link 6`
Command   make link      (this recipe, then `link-cut`, then the comparison)
Cost      see README, "What was measured"
Expected  MDMT beats STL τ1 on prognosis (one-sided p < 0.01 over seeds and backbones); in `link-cut` it does not
"""

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import BackboneChoice, Recipe, Running, Scheme, SegmenterChoice
from training.protocol.recipes import PHANTOM_COHORTS
from training.settings import Training


def recipe() -> Recipe:
    return Recipe(
        name="link",
        description="severity decides the outcome: 100 films with an outcome, 480 with a Brixia score, five seeds",
        data=("state/link-phantom",),
        cohorts=PHANTOM_COHORTS,
        segmenter=SegmenterChoice(preset="demo"),
        pipeline=PipelineSpec(size=64),
        backbones=tuple(
            BackboneChoice(name=name, weights="scratch") for name in ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "mobilenet_v2")
        ),
        experiments=("stl-prognosis", "stl-severity", "mdmt"),
        schemes=(Scheme(kind="cv", folds=2, repeats=5),),
        training=Training(batch_size=16, max_epochs=24, patience=8, warmup_epochs=4, dropout=0.3),
        batch_norm="reestimate",
        running=Running(pictures="groups"),
    )
