"""paper: the study of the paper (sections 3.1 to 3.3) on the two data sets as their portals deliver them.

Source    AIforCOVID (three releases) and BRIXIA side by side in DIR, and pairs of films and lung masks in DIR/lung-masks;
          ImageNet weights of the 18 backbones: `mdmt weights fetch --all`
Command   mdmt run --recipe paper --data DIR        (`mdmt plan --recipe paper --data DIR` first: what it takes)
Cost      2,574 trainings for GPUs; `mdmt plan` estimates the hours
Expected  accuracy of prognosis, mean over backbones: STL 66.0, FT 67.3, MDMT 68.6 in CV; 61.2, 64.8, 65.7 in LOCO (paper, Table 1).
          Not reproduced here: the data sets are given on request only

What the paper says is taken from it: cross-entropy summed over the batch (equation 2), Adam 1e-3, weight decay 1e-4, batch 128, at most
300 epochs, 40 of them held off, stop after 40 without progress, ImageNet weights, the average of both STL networks. What it does not
say: 256 px, dropout 0.5, augmentation and 60/20/20 parts are those of the authors' code; the head is 128 wide; in LOCO the films of
BRIXIA, which has no such centres, are dealt into six parts; patients are never split.
"""

from training.protocol.recipe import BackboneChoice, Recipe, Scheme, SegmenterChoice
from training.protocol.recipes import EIGHTEEN, PHANTOM_COHORTS, RELEASES
from training.settings import Augmentation, Training


def recipe() -> Recipe:
    return Recipe(
        name="paper",
        description="18 backbones, five experiments, 5-fold CV and leave-one-centre-out, three releases",
        data=("data",),
        cohorts=PHANTOM_COHORTS,
        segmenter=SegmenterChoice(preset="real"),
        backbones=tuple(BackboneChoice(name=name, weights="imagenet") for name in EIGHTEEN),
        subsets=RELEASES,
        schemes=(Scheme(kind="cv", folds=5), Scheme(kind="loco", primary="aiforcovid")),
        training=Training(augmentation=Augmentation(contrast=0, brightness=0)),
        device="cuda",
    )
