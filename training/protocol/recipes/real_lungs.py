"""real-lungs: how well lungs are found on real public chest X-rays, and what the input gate makes of these films and of others.

Source    the folder of `real-cxr` (see there), with pairs of films and lung masks in `lung-masks` (`training.data.lung_pairs`) and
          awkward files in `oddities`
Command   mdmt run --recipe real-lungs [--data DIR], then mdmt report --recipe real-lungs [--page docs/evidence.md]
Cost      TODO
Expected  TODO
"""

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import CohortSource, Recipe, Scheme, SegmenterChoice


def recipe() -> Recipe:
    return Recipe(
        name="real-lungs",
        description="the lung U-Net and the input gate on public films; no network is trained on outcomes or scores",
        data=("data/real-cxr", "../shared/data/real-cxr"),
        cohorts=(
            CohortSource(name="prognosis", reader="public_cxr", path=".", options={"part": "prognosis"}),
            CohortSource(name="severity", reader="public_cxr", path=".", options={"part": "severity"}),
        ),
        segmenter=SegmenterChoice(preset="real"),
        pipeline=PipelineSpec(size=160),
        backbones=(),
        experiments=(),
        schemes=(Scheme(kind="cv", folds=5),),
        evidence="lungs",
    )
