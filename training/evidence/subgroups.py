"""Figures by subgroup for docs/evidence.md: the table of the model card, of a study that need not have registered anything."""

from training.evaluation.card import Judged
from training.evaluation.card.subgroups import subgroup_table
from training.promotion import pick
from training.protocol.recipe import BackboneChoice
from training.protocol.served import judged_films
from training.protocol.study import Study, View
from training.protocol.summary import compare


def subgroups(study: Study, view: View, backbone: BackboneChoice | None = None) -> str:
    """Markdown: ACC and AUC by centre and by every other grouping, of the networks of the recipe's served group. As `judged`."""
    return subgroup_table(judged(study, view, backbone))


def judged(study: Study, view: View, backbone: BackboneChoice | None = None) -> tuple[Judged, ...]:
    """What the networks of the recipe's served group said to the films that they tested, by task.

    `backbone`: one of the recipe's; default: the one that `mdmt register` would pick. Raises RecipeError when there is no result to pick
    from, NotTheSameFilms when results are not of the films of the plan.
    """
    plan, results = study.plan(view), study.results()
    chosen = backbone or pick(study.recipe, compare(results))
    return judged_films(study.recipe, chosen, plan, results, study.cohorts)
