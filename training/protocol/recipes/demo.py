"""demo: the main job on generated films, from files to a registered version, on a laptop's CPU.

Source    phantom films in the layouts of AIforCOVID and BRIXIA; `mdmt phantom` makes them
Command   make demo   (or: mdmt run --recipe demo)
Cost      8 minutes on 2 cores, of which the units take 4
Expected  accuracy of prognosis (two-fold CV) 0.66 to 0.67 for STL τ1, 0.68 to 0.71 for FT, 0.70 to 0.72 for MDMT, by the processor;
          at most 0.775 is possible
"""

from typing import Any

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import PHANTOM_COHORTS
from training.settings import Training


def recipe(**changes: Any) -> Recipe:
    return Recipe(**({
        "name": "demo",
        "description": "phantom films, one small backbone, 2-fold CV and two centres left out",
        "data": ("state/phantom",),
        "cohorts": PHANTOM_COHORTS,
        "segmenter": SegmenterChoice(preset="demo"),
        "pipeline": PipelineSpec(size=128),
        "backbones": (BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch"),),
        "schemes": (
            Scheme(kind="cv", folds=2),
            Scheme(kind="loco", primary="aiforcovid", centres=("A", "F")),
        ),
        "training": Training(batch_size=16, max_epochs=24, patience=8, warmup_epochs=4, dropout=0.3),
        "experiments": ("stl-prognosis", "stl-severity", "ft", "mdmt"),
        "batch_norm": "reestimate",
    } | changes))  # fmt: skip


def variants() -> dict[str, Recipe]:
    """The mean over the lungs alone: evidence ends at their border (`make bench-evidence`), and what is outside them is not used."""
    lungs = {
        "description": "phantom films, the lungs alone, averaged over the lungs; 2-fold CV",
        "schemes": recipe().schemes[:1],
        "experiments": ("stl-prognosis", "stl-severity", "mdmt"),
        "pipeline": PipelineSpec(size=128, crop="masked"),
        "training": recipe().training.model_copy(update={"pooling": "lungs"}),
        "registered_name": "mdmt-lungs",
    }
    return {"lungs": recipe(name="demo+lungs", **lungs)}
