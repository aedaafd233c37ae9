"""real-lungs: how well lungs are found on real public chest X-rays, and what the input gate makes of these films and of others.

Source    the folder of `real-cxr` (see there), with pairs of films and lung masks in `lung-masks` (`training.data.lung_pairs`) and
          awkward files in `oddities`
Command   mdmt run --recipe real-lungs [--data DIR], then mdmt report --recipe real-lungs [--page docs/evidence.md]
Cost      on 2 cores: 9 minutes for the lung U-Net (704 CPU seconds on a Xeon, 2,346 on one thread of a busy AMD EPYC), 40 seconds for
          the films, 3 to 5 minutes for the report beside other work (76 CPU seconds; AMD 181)
Expected  V7: Dice 0.951 (95 % interval 0.941 to 0.960) on 43 held-out films, two annotators 0.948 in the mean; JSRT 0.978 (0.975 to
          0.980) on 28; both lungs on 956 of 956 frontal films; 456 of 464 pass a gate that has not seen the patient; 21 of 24 oddities
          as their table expects: a CT slice as PNG and the photograph of a screen are answered without a flag (with a U-Net trained
          on another processor: the lateral film in place of the CT slice), and a DICOM file that was relabelled MONOCHROME1 is
          refused as inverted. Odd films in training (preset `real-lungs`) did not help when both were trained on one machine:
          held-out Dice 0.943 instead of 0.951
"""

from cxr.pipeline import PipelineSpec
from training.protocol.recipe import Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import PUBLIC_COHORTS, PUBLIC_FOLDERS


def recipe() -> Recipe:
    return Recipe(
        name="real-lungs",
        description="the lung U-Net and the input gate on public films; no network is trained on outcomes or scores",
        data=PUBLIC_FOLDERS,
        cohorts=PUBLIC_COHORTS,
        segmenter=SegmenterChoice(preset="real"),
        pipeline=PipelineSpec(size=160),
        backbones=(),
        experiments=(),
        schemes=(Scheme(kind="cv", folds=5),),
        evidence="lungs",
    )
