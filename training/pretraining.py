"""Weights to start from that are made here: from films without labels, from a finished unit, or from a sibling's weights.

Each becomes a set of `own_weights`, which a recipe then names. What a set was made from is in its note.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from mlflow.entities import Metric
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from training import own_weights
from training.data.films import FilmStore
from training.data.rows import FilmRows
from training.data.samples import sample_key
from training.learning.backbones import build
from training.learning.backbones.backbone import Backbone
from training.learning.backbones.transplant import transplant
from training.learning.contrast import Contrast, Projected, learn_likeness
from training.own_weights import Note
from training.protocol.desk import WEIGHTS
from training.protocol.recipe import Recipe
from training.protocol.study import Study, View
from training.protocol.unit import Unit

SHARED = "backbone."  # what the names of the backbone's tensors begin with in a unit's weights


class NothingToLearn(ValueError):
    """No film, or no finished unit, to make weights from."""


def from_films(study: Study, others: Study | None, backbone: str, chosen: str, settings: Contrast, view: View) -> Note:
    """Contrastive pre-training from ImageNet weights on the study's films, of which no label is looked at.

    Films of patients that `others` has as well are left out, so that no film of that study's test folds, nor of its patients, is seen.
    The loss of every epoch goes to MLflow. Raises NothingToLearn with fewer than two films, WeightsNotFound.
    """
    own_weights.place(chosen, backbone, study.weights)  # a name that cannot be is refused before anything slow
    stores = study.films(view)
    held_out = {row.patient for cohort in others.cohorts for row in cohort.rows} if others else set()
    places = [
        (number, stores[cohort.name].usable[row.id]["slot"], f"{cohort.name}/{row.id}")
        for number, cohort in enumerate(study.cohorts)
        for row in cohort.rows
        if row.patient not in held_out and row.id in stores[cohort.name].usable
    ]
    if len(places) < 2:
        raise NothingToLearn(f"{len(places)} films of {study.recipe.name!r} are of patients that are not held out; give more")
    started = build(backbone, "imagenet", study.weights)
    network = Projected(started.module, started.features, torch.tensor(started.mean), torch.tensor(started.std), settings.width)
    films = _rows([stores[cohort.name] for cohort in study.cohorts], places)
    losses: list[float] = []

    def heard(epoch: int, loss: float) -> None:
        losses.append(loss)
        view.stage("contrastive pre-training, epochs", epoch, settings.epochs)

    torch.set_num_threads(study.recipe.threads)
    learn_likeness(network, films, np.array([sample_key(name) for _, _, name in places], dtype=np.uint64), settings, heard)
    _track(study, chosen, settings, losses)
    left_out = f", without the patients of {others.recipe.name}" if others else ""
    seen = f"{len(places)} films of {study.recipe.name} at {study.recipe.pipeline.size} px{left_out}"
    origin = f"contrastive pre-training, {seen}, {settings.epochs} epochs, from {started.origin}"
    return _kept(started, chosen, backbone, study.weights, origin)


def from_unit(study: Study, experiment: str, chosen: str, view: View) -> Note:
    """The backbone of the first finished unit of an experiment, in the order of the plan: of its first backbone, first fold.

    Raises NothingToLearn when there is none, or its weights were dropped.
    """
    units = [unit for unit in study.plan(view).units if unit.experiment == experiment]
    trained = study.tracking.finished([unit.fingerprint for unit in units])
    unit: Unit | None = next((unit for unit in units if unit.fingerprint in trained), None)
    if unit is None:
        known = ", ".join(study.recipe.experiments)
        raise NothingToLearn(
            f"no unit of {experiment!r} of recipe {study.recipe.name!r} is finished (its experiments: {known}): run the recipe first"
        )
    with tempfile.TemporaryDirectory() as work:
        state = load_file(study.tracking.download(trained[unit.fingerprint].info.run_id, WEIGHTS, Path(work)))
    started = build(unit.backbone.name, unit.backbone.weights, study.weights)
    started.module.load_state_dict({name.removeprefix(SHARED): v for name, v in state.items() if name.startswith(SHARED)})
    origin = f"{unit.title} of {study.recipe.name}, unit {unit.fingerprint[:12]}, from {started.origin}"
    return _kept(started, chosen, unit.backbone.name, study.weights, origin)


def from_sibling(giver: str, taker: str, chosen: str, weights: Path) -> Note:
    """`taker` with the ImageNet weights of `giver` wherever the two are alike. Raises NoKin, WeightsNotFound."""
    torch.manual_seed(0)
    given, made = build(giver, "imagenet", weights), build(taker)
    copied, own = transplant(given, made)
    return _kept(made, chosen, taker, weights, f"{copied} of {own} tensors copied from {giver}: {given.origin}")


def at_size(recipe: Recipe, size: int) -> Recipe:
    """The same recipe on films of another side, in pixels. Raises RecipeError or ValidationError for a side that cannot be."""
    return Recipe(**(recipe.model_dump() | {"pipeline": recipe.pipeline.model_dump() | {"size": size}}))


def _rows(stores: list[FilmStore], places: list[tuple[int, int, str]]) -> FilmRows:
    owners: NDArray[np.int64] = np.array([number for number, _, _ in places])
    return FilmRows([store.pixels() for store in stores], owners, np.array([slot for _, slot, _ in places]))


def _track(study: Study, chosen: str, settings: Contrast, losses: list[float]) -> None:
    tracking = study.tracking
    experiment = tracking.experiment(f"mdmt-{study.recipe.name}")
    tags = {"mdmt.recipe": study.recipe.name, **{f"mdmt.{name}": str(value) for name, value in settings.model_dump().items()}}
    run = tracking.parent_run(experiment, f"start {chosen}", study.recipe.digest(), tags)
    tracking.client.log_batch(run, [Metric("loss", loss, 0, epoch) for epoch, loss in enumerate(losses, 1)])


def _kept(made: Backbone, chosen: str, backbone: str, weights: Path, origin: str) -> Note:
    state: Mapping[str, Tensor] = made.module.state_dict()
    weights.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=weights, prefix=".") as work:
        part = Path(work) / "part.safetensors"
        save_file({made.kept_as + name: value.contiguous() for name, value in state.items()}, part)
        return own_weights.keep(part, chosen, backbone, weights, origin)
