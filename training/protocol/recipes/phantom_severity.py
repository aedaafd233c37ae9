"""phantom-severity: the severity of phantoms, learnt so that a network of real films can start from there (`mdmt starts unit`).

Source    `mdmt phantom --folder state/severity-phantom --prognosis 9 --severity 600`
Command   part of `make real-severity`
Cost      10 minutes on 2 cores beside other work
Expected  nothing of itself: see the variant `real-severity+phantoms`
"""

from typing import Any

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import PHANTOM_COHORTS
from training.settings import Training


def recipe(**changes: Any) -> Recipe:
    return Recipe(**({
        "name": "phantom-severity",
        "description": "600 phantoms with a Brixia score; two folds",
        "data": ("state/severity-phantom",),
        "cohorts": PHANTOM_COHORTS[1:],
        "headline": "severity",
        "segmenter": SegmenterChoice(preset="demo"),
        "pipeline": PipelineSpec(size=160),
        "backbones": (BackboneChoice(name="efficientnet_lite0", weights="imagenet"),),
        "experiments": ("stl-severity",),
        "schemes": (Scheme(kind="cv", folds=2),),
        "training": Training(batch_size=16, max_epochs=10, patience=3, warmup_epochs=2, dropout=0.3, learning_rate=5e-4),
    } | changes))  # fmt: skip
