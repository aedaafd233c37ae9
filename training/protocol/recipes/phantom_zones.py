"""phantom-zones: the six zones of phantoms, learnt so that a network of real films can start from there (`mdmt starts unit`).

Source    `mdmt phantom --folder state/zones-phantom --prognosis 9 --severity 1200`
Command   make phantom-zones   (part of `make real-model` and `make real-severity`)
Cost      10 minutes on 2 cores, and 5 for phantoms and their U-Net
Expected  nothing of itself: see `real`, which starts from it
"""

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import Recipe
from training.protocol.recipes import phantom_severity
from training.protocol.recipes.real_severity import ZONED


def recipe() -> Recipe:
    return phantom_severity.recipe(
        name="phantom-zones",
        description="1,200 phantoms with a Brixia score, the lungs alone; two folds",
        data=("state/zones-phantom",),
        pipeline=PipelineSpec(size=160, crop="masked"),
        experiments=(ZONED.name,),
        own_experiments=(ZONED,),
        training=phantom_severity.recipe().training.model_copy(update={"pooling": "lungs"}),
    )
