"""`mdmt tune`: settings for each fold, found without its test films.

For an outer fold only the films that train or validate there are dealt, by patient, into inner folds (`tuning_folds`). A trial is a point
of the space (`tuning_space`); its units are the served experiment (MDMT) and its parents on every inner fold. They go the way of all
units: fingerprints, claims, workers, MLflow. So equal units of two trials exist once, a search that is killed goes on where it was, and
two runners share one search (`tuning_trials`). Every trial is a nested MLflow run (`tuning_runs`).

The objective is the validation loss of the headline task at the best epoch (the mean cross-entropy per film, of the weights that the
unit keeps), averaged over the inner folds. Not accuracy or AUC: on the hundred films of an inner fold these move in steps, tie, and
leave the pruner's ranks nothing to see; and not the loss in training, which label smoothing and task weights change with the settings.
The loss that stops a training and the loss that is compared are of the same films, so the value found is too good as an estimate,
alike for all settings; the honest figures are those of the outer test films, which no unit of the search has seen.

The first two inner folds run together, because nothing can be said from one; then a trial that is worse than the best one in each is
stopped. What is found with one backbone holds for all of the recipe's in that fold, and what is found for MDMT for its rivals too: STL and
FT then train with settings that were not searched for them. The report says so; whoever wants to compare them at their best gives each
experiment `training` of its own.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

from cxr import durable
from training.protocol.finding import Finding
from training.protocol.plan import start_of
from training.protocol.recipe import BackboneChoice, Recipe, Running
from training.protocol.study import Study, View
from training.protocol.tuning_folds import TuningError, inner_folds, outer_folds
from training.protocol.tuning_search import Search
from training.protocol.tuning_trials import SMALLEST_FOLDS


def tune(
    study: Study, view: View, places: Sequence[str] = (), trials: int = 30, backbone: str | None = None, folds: int = 3
) -> tuple[Recipe, list[Finding]]:
    """Search in each of `places` (subset/fold, default see `outer_folds`) until it has `trials` trials on `folds` inner folds.

    `backbone` is one of the recipe's, default its first. Returns the recipe with what was found. Raises TuningError.
    """
    if trials < 1 or folds < SMALLEST_FOLDS:
        raise TuningError(f"{trials} trials on {folds} inner folds; allowed: at least 1 trial and {SMALLEST_FOLDS} inner folds")
    recipe, chosen = study.recipe, choose_backbone(study.recipe, backbone)
    start = start_of(chosen, study.weights)  # what is missing, misspelled or too small is better said before hours of preparation
    study.settle()
    for division in outer_folds(recipe, study.cohorts, None, places):
        inner_folds(division, folds, recipe.seed)
    outer = outer_folds(recipe, study.cohorts, study.films(view), places)
    frugal = copy.copy(study)
    frugal.recipe = recipe.model_copy(update={"running": _frugal(recipe.running)})
    searches = [Search(frugal, view, division, chosen, start, folds) for division in outer]
    findings = [search.run(trials) for search in searches]
    return tuned_recipe(recipe, findings, f"{trials} trials on {folds} inner folds with {chosen.name}-{chosen.weights}"), findings


def choose_backbone(recipe: Recipe, name: str | None) -> BackboneChoice:
    """One of the recipe's backbones by name, or by name and weights where it has both. Raises TuningError listing them."""
    fitting = [b for b in recipe.backbones if name in (None, b.name, f"{b.name}-{b.weights}")]
    if not fitting or (name is not None and len(fitting) > 1):
        found = "several" if fitting else "none"
        known = ", ".join(f"{b.name}-{b.weights}" for b in recipe.backbones)
        raise TuningError(f"backbone {name!r} is {found} of recipe {recipe.name!r}; give one of: {known}")
    return fitting[0]


def tuned_recipe(recipe: Recipe, findings: Sequence[Finding], how: str) -> Recipe:
    """The recipe with the findings in it, and a note of how in its description. Other folds keep what they had."""
    note = f"{recipe.description}; tuned by mdmt tune: {', '.join(f.place for f in findings)} in {how}, seed {recipe.seed}"
    tuned = {**recipe.tuned, **{finding.place: finding.tuned for finding in findings}}
    changes = {"description": note, "tuned": {place: value.model_dump() for place, value in tuned.items()}}
    return Recipe.model_validate({**recipe.model_dump(), **changes})


def save(recipe: Recipe, path: Path) -> None:
    """Write a recipe where `load_recipe` finds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write(path, recipe.model_dump_json(indent=2).encode())


def _frugal(running: Running) -> Running:
    """Of hundreds of units only the figures are wanted: weights go when nothing starts from them any more, no pictures."""
    return running.model_copy(update={"keep_weights": "needed", "pictures": "none"})
