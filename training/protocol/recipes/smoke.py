"""smoke: the full breadth of the paper's study on a handful of phantoms. The figures mean nothing; that there are 2,574 of them does.

Source    phantom films in the layouts of AIforCOVID and BRIXIA: `mdmt phantom --folder state/smoke-phantom --prognosis 64
          --severity 30 --films-per-subject 1 --pairs 24 --seed 55`; with this seed every training and every test part of every fold
          and release has every class
Command   make smoke     (or: mdmt run --recipe smoke)
Cost      see README, "What was measured"
Expected  every cell of the report is filled; nothing is learned
"""

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import BackboneChoice, Recipe, Running, Scheme, SegmenterChoice
from training.protocol.recipes import EIGHTEEN, PHANTOM_COHORTS, RELEASES
from training.settings import Training


def recipe() -> Recipe:
    return Recipe(
        name="smoke",
        description="18 backbones, five experiments, CV and LOCO, three releases; one epoch on phantoms of 64 px",
        data=("state/smoke-phantom",),
        cohorts=PHANTOM_COHORTS,
        segmenter=SegmenterChoice(preset="smoke"),
        pipeline=PipelineSpec(size=64),
        backbones=tuple(BackboneChoice(name=name, weights="scratch") for name in EIGHTEEN),
        subsets=RELEASES,
        schemes=(Scheme(kind="cv", folds=5), Scheme(kind="loco", primary="aiforcovid")),
        training=Training(batch_size=32, max_epochs=1, patience=1, warmup_epochs=0, hidden=16),
        running=Running(keep_weights="needed", pictures="none"),
    )
