"""authors-code: the paper's study with what the authors' public code does differently, for whoever wants to compare.

Source    as for `paper`
Command   mdmt run --recipe authors-code --data DIR
Cost      as for `paper`, a little more: it stops later
Expected  unknown: nobody has published a run of it

Different from `paper`, as in the public code (its main branch, unchanged since January 2024): squared error on τ1 in MDMT; the loss
divided by the batch; weight decay 1e-5; patience 65; a plateau scheduler; τ1 alone decides when MDMT stops; BatchNorm statistics are
not averaged; no normalisation; the three channels scrambled (a reshape where a transpose was meant); categories of the Brixia score one
off (5, 10, 15); one BRIXIA split for all of LOCO, and 10 % of the films validating there.
Not imitated, because no comparison should need it: patients on both sides of a split, films dropped by accident, zone digits out of
line, ReLU before one head only and a deeper head in MDMT alone, the backbone computed twice per batch.
"""

from training.protocol.recipe import Recipe, Scheme
from training.protocol.recipes import paper


def recipe() -> Recipe:
    base = paper.recipe()
    training = base.training.model_copy(
        update={
            "squared_error": ("prognosis",),
            "reduction": "mean",
            "weight_decay": 1e-5,
            "patience": 65,
            "schedule": "plateau",
            "plateau_factor": 0.65,
            "plateau_patience": 15,
            "plateau_minimum": 1e-8,
            "monitor": "prognosis",
            "normalisation": "none",
            "channels": "scrambled",
        }
    )
    aiforcovid, brixia = base.cohorts
    return Recipe.model_validate(
        base.model_copy(
            update={
                "name": "authors-code",
                "description": "the paper's study with the deviations of the authors' public code",
                "cohorts": (aiforcovid, brixia.model_copy(update={"options": {"bounds": [5, 10, 15]}})),
                "training": training,
                "batch_norm": "initial",
                "schemes": (
                    Scheme(kind="cv", folds=5),
                    Scheme(kind="loco", primary="aiforcovid", others="first", val_fraction=0.1),
                ),
            }
        ).model_dump()
    )
