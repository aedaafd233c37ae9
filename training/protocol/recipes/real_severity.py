"""real-severity: how close to a radiologist comes a network that has seen 136 scored films, and what helps it.

Source    as `real-cxr`; the senior radiologist's scores are the reference, the junior's the human rival
Command   make real-severity   (this recipe, its variants, and docs/evidence.md; each finds what an earlier call has done)
Cost      with its variants 200 trainings: on an AMD EPYC with AVX-512 (Zen 4) 96 minutes of 2 cores for all but the `close` ones, with
          pre-training and phantoms; these three 66, 31 and 25 of one thread
Expected  the junior has the senior's category on 70.6 % of the films (κ 0.83, MAE 1.88). STL τ2 44.9 % (0.46, 3.13); zones by both
          readers as tasks, ordinal loss, 8 views, pre-trained on phantoms: 60.3 % (0.70, 2.35); each zone of the lungs seen alone, from
          the zones of phantoms, with averaged weights: 59.9 % (0.73, 2.13), with more films to learn from 61.0 % (0.73, 2.14). So the
          junior is not beaten. See docs/evidence.md for the intervals and for what helped; another kind of CPU gives other figures within
          them
"""

from typing import Any

from cxr.pipeline import PipelineSpec
from cxr.tasks import SECOND, SECOND_ZONES, SEVERITY, ZONES
from training.protocol.experiments import Experiment
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import PUBLIC_COHORTS, PUBLIC_FOLDERS
from training.settings import Training

LITE0 = BackboneChoice(name="efficientnet_lite0", weights="imagenet")
SCORES = (SEVERITY.name, *(zone.name for zone in ZONES))
ZONED = Experiment(name="zones", title="zones as tasks, ordinal loss", tasks=SCORES, training={"ranked": list(SCORES)})
LEVERS = (
    Experiment(name="ranked", title="ordinal loss", tasks=("severity",), training={"ranked": ["severity"]}),
    Experiment(name="global", title="global score, ordinal loss", tasks=("global",), training={"ranked": ["global"]}),
    Experiment(
        name="two-readers", title="both readers' labels", tasks=("severity", SECOND.name), training={"monitor": "severity"}
    ),
    ZONED,
    Experiment(name="views", title="8 views in evaluation", tasks=("severity",), training={"test_views": 8}),
)

BOTH = (*SCORES, SECOND.name, *(zone.name for zone in SECOND_ZONES))
TOGETHER = Experiment(
    name="together",
    title="zones by both readers, ordinal loss, 8 views",
    tasks=BOTH,
    training={"ranked": list(BOTH), "monitor": "severity", "test_views": 8},
)


def start(weights: str) -> BackboneChoice:
    return LITE0.model_copy(update={"weights": weights})


def recipe(**changes: Any) -> Recipe:
    return Recipe(**({
        "name": "real-severity",
        "description": "136 public films with Brixia scores; 5-fold CV by patient, twice",
        "data": PUBLIC_FOLDERS,
        "cohorts": PUBLIC_COHORTS[1:],
        "headline": "severity",
        "segmenter": SegmenterChoice(preset="real"),
        "pipeline": PipelineSpec(size=160),
        "backbones": (LITE0,),
        "schemes": (Scheme(kind="cv", folds=5, repeats=2),),
        "training": Training(batch_size=16, max_epochs=18, patience=5, warmup_epochs=3, dropout=0.3, learning_rate=5e-4),
        "experiments": ("stl-severity", *(lever.name for lever in LEVERS)),
        "own_experiments": LEVERS,
        "evidence": "severity",
    } | changes))  # fmt: skip


def variants() -> dict[str, Recipe]:
    """The single task on other films, or from another start."""
    chosen: dict[str, Any] = {"experiments": ("stl-severity",), "evidence": None}
    together: dict[str, Any] = {"experiments": (TOGETHER.name,), "own_experiments": (TOGETHER,)}
    averaged = recipe().training.model_copy(update={"averaging": 0.95, "max_epochs": 24})
    close: dict[str, Any] = {
        "pipeline": PipelineSpec(size=256, crop="masked"),
        "training": averaged.model_copy(update={"pooling": "zones"}),
    }
    return {
        name: recipe(name=f"real-severity+{name}", **(chosen | changes))
        for name, changes in {
            "masked": {"description": "lungs alone, black around them", "pipeline": PipelineSpec(size=160, crop="masked")},
            "together": together | {"description": "what helped put together: zones, both readers, ordinal loss, views"},
            "together-phantoms": together
            | {"description": "the same, pre-trained on the severity of phantoms", "backbones": (start("phantoms"),)},
            "together-zones": together
            | {
                "description": "the same on the lungs alone, pre-trained on the zones of phantoms, with averaged weights",
                "backbones": (start("phantom-zones"),),
                "pipeline": PipelineSpec(size=160, crop="masked"),
                "training": averaged.model_copy(update={"pooling": "lungs"}),
            },
            "close": together
            | {"description": "as `together`, each zone of the lungs looked at alone and close up, with averaged weights"}
            | close,
            "close-zones": together
            | {"description": "as `close`, pre-trained on the zones of phantoms", "backbones": (start("phantom-zones"),)}
            | close,
            "close-more": together
            | {
                "description": "as `close-zones`, with a tenth of the films outside test to validate in place of a quarter",
                "backbones": (start("phantom-zones"),),
                "val_fraction": 0.1,
            }
            | close,
            "224px": {"description": "films of 224 px", "pipeline": PipelineSpec(size=224)},
            "256px": {"description": "films of 256 px", "pipeline": PipelineSpec(size=256)},
            "320px": {"description": "films of 320 px", "pipeline": PipelineSpec(size=320)},
            "scratch": {"description": "no ImageNet weights", "backbones": (start("scratch"),)},
            "contrast": {"description": "contrastive pre-training on films without a label", "backbones": (start("contrast"),)},
            "phantoms": {"description": "pre-training on the severity of phantoms", "backbones": (start("phantoms"),)},
            "b0": {
                "description": "efficientnet_b0 from the weights of efficientnet_lite0",
                "backbones": (BackboneChoice(name="efficientnet_b0", weights="lite0"),),
            },
        }.items()
    }
