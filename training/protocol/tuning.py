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
stopped. What is found with one backbone holds for all of the recipe's in that fold.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from optuna import Trial, TrialPruned

from training import durable
from training.protocol.desk import HISTORY
from training.protocol.experiments import in_order
from training.protocol.job import Event
from training.protocol.plan import Division, Plan, start_of, units_of
from training.protocol.recipe import BackboneChoice, Recipe, Running, Tuned
from training.protocol.study import SERVED, Study, View
from training.protocol.tuning_folds import TuningError, inner_folds, outer_folds
from training.protocol.tuning_runs import UNITS, WORDS, SearchRuns
from training.protocol.tuning_space import Space
from training.protocol.tuning_trials import SMALLEST_FOLDS, TrialFailed, Trials
from training.protocol.unit import Unit

MARK = "; tuned by mdmt tune: "


@dataclass(frozen=True)
class Finding:
    """What a search came to. `trials` counts by state (complete, pruned, failed); losses are means over the inner folds, `own` that of
    the recipe's settings (None: they failed)."""

    place: str
    trials: Mapping[str, int]
    best: float
    own: float | None
    tuned: Tuned


def tune(
    study: Study, view: View, places: Sequence[str] = (), trials: int = 30, backbone: str | None = None, folds: int = 3
) -> tuple[Recipe, list[Finding]]:
    """Search in each of `places` (subset/fold, default see `outer_folds`) until it has `trials` trials on `folds` inner folds.

    `backbone` is one of the recipe's, default its first. Returns the recipe with what was found. Raises TuningError.
    """
    if trials < 1 or folds < SMALLEST_FOLDS:
        raise TuningError(f"{trials} trials on {folds} inner folds; allowed: at least 1 trial and {SMALLEST_FOLDS} inner folds")
    recipe, chosen = study.recipe, choose_backbone(study.recipe, backbone)
    start = start_of(chosen, study.weights)  # what is missing is better said before hours of preparation
    stores = study.films(view)
    frugal = copy.copy(study)
    frugal.recipe = recipe.model_copy(update={"running": _frugal(recipe.running)})
    searches = [
        Search(frugal, view, division, chosen, start, folds)
        for division in outer_folds(recipe, study.cohorts, stores, places)
    ]
    findings = [search.run(trials) for search in searches]
    return tuned_recipe(recipe, findings, f"{trials} trials on {folds} inner folds with {chosen.name}-{chosen.weights}"), findings


def choose_backbone(recipe: Recipe, name: str | None) -> BackboneChoice:
    """One of the recipe's backbones by name, or by name and weights where it has both. Raises TuningError listing them."""
    fitting = [b for b in recipe.backbones if name in (None, b.name, f"{b.name}-{b.weights}")]
    if not fitting or (name is not None and len(fitting) > 1):
        known = ", ".join(f"{b.name}-{b.weights}" for b in recipe.backbones)
        raise TuningError(f"backbone {name!r} is {'none' if not fitting else 'more than one'} of recipe {recipe.name!r}; give one of: {known}")
    return fitting[0]


def tuned_recipe(recipe: Recipe, findings: Sequence[Finding], how: str) -> Recipe:
    """The recipe with the findings in it, and a note of how in its description. Other folds keep what they had."""
    note = f"{recipe.description.split(MARK)[0]}{MARK}{', '.join(f.place for f in findings)}; {how}, seed {recipe.seed}"
    changed = {"tuned": {**recipe.tuned, **{f.place: f.tuned for f in findings}}, "description": note}
    return Recipe.model_validate({**recipe.model_dump(), **Recipe.model_construct(**changed).model_dump(include=set(changed))})


def save(recipe: Recipe, path: Path) -> None:
    """Write a recipe where `load_recipe` finds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write(path, recipe.model_dump_json(indent=2).encode())


class Search:
    """The search in one outer fold. `start` is what the backbone starts from (see `plan.start_of`)."""

    def __init__(self, study: Study, view: View, outer: Division, backbone: BackboneChoice, start: str, folds: int) -> None:
        self._study, self._recipe, self._view, self.outer = study, study.recipe, view, outer
        self._backbone, self._start = backbone, start
        self._experiments = in_order((SERVED,), self._recipe.known_experiments)
        self._served, headline = self._experiments[-1], self._recipe.headline
        if headline not in self._served.tasks:
            raise TuningError(
                f"experiment {SERVED!r} does not learn headline {headline!r}, whose loss is to be lowered; "
                f"its tasks: {', '.join(self._served.tasks)}"
            )
        scheme = next((s for s in self._recipe.schemes if s.kind == outer.scheme), None)
        val_fraction = (scheme and scheme.val_fraction) or self._recipe.val_fraction
        self.inner = inner_folds(outer, folds, self._recipe.seed, val_fraction)
        self.space = Space(self._recipe, outer.place, self._served)

    @cached_property
    def name(self) -> str:
        """Place, backbone, and a digest of all that decides what the trials come to: films, code, every other setting, the space."""
        plain = self.plan(self.space.tuned({}), range(len(self.inner)))
        bounds = {name: repr(distribution) for name, distribution in self.space.distributions.items()}
        content = json.dumps([sorted(plain.distinct), self._recipe.headline, bounds, self.space.own], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        return f"tuning/{self._backbone.name}-{self._backbone.weights}/{self.outer.place}/{digest[:12]}"

    def run(self, total: int) -> Finding:
        """Until there are `total` trials. Raises TuningError when none of them trained."""
        study, place = self._study, self.outer.place
        journal = study.tracking.home / "tuning" / self._recipe.digest() / f"{place.replace('/', '-')}.journal"
        trials = Trials(self.name, journal, self._recipe.seed, self.space.own)
        tags = {"mdmt.subset": self.outer.subset, "mdmt.fold": self.outer.fold.name, "mdmt.backbone": self._backbone.name}
        runs = SearchRuns(study.tracking, self._recipe, self.name, f"val_loss_{self._recipe.headline}", tags)

        def after() -> None:
            runs.log(trials.finished)
            self._view.stage(f"trials of {place}", min(len(trials.finished), total), total)

        missing = max(0, total - len(trials.finished))
        self._shown = _OneBar(self._view, missing * len(self.inner) * len(self._experiments))
        trials.run(self.evaluate, total, after)
        best, finished = trials.best, trials.finished
        if best is None:
            raise TuningError(f"no trial of {place} trained to its end; the last one: {finished[-1].user_attrs.get('reason')}")
        counts = {word: sum(t.state is state for t in finished) for state, word in WORDS.items()}
        own = next((t for t in finished if t.params == self.space.own and t.value is not None), None)
        tuned = self.space.tuned(best.params)
        runs.conclude(best, own, counts, {place: tuned.model_dump(mode="json")})
        assert best.value is not None
        return Finding(place, counts, best.value, own.value if own else None, tuned)

    def evaluate(self, trial: Trial) -> float:
        """Mean over the inner folds of the headline's validation loss. Raises TrialPruned, and TrialFailed when a unit failed."""
        tuned = self.space.tuned(self.space.suggest(trial))
        losses: list[float] = []
        for steps in (range(SMALLEST_FOLDS), *([i] for i in range(SMALLEST_FOLDS, len(self.inner)))):
            if losses and trial.should_prune():
                raise TrialPruned
            plan = self.plan(tuned, steps)
            trial.set_user_attr(UNITS, [*trial.user_attrs.get(UNITS, []), *plan.distinct])
            ran = self._study.run_plan(plan, self._shown)
            if ran.failed:
                raise TrialFailed("; ".join(f"{title}: {reason}" for title, reason in ran.failed.items()))
            for i in steps:
                losses.append(self._loss(next(u for u in plan.units if u.fold == self.inner[i].fold.name and u.experiment == SERVED)))
                trial.report(losses[-1], i)
        return sum(losses) / len(losses)

    def plan(self, tuned: Tuned, steps: Sequence[int]) -> Plan:
        """The units of one trial on some inner folds."""
        given = self._recipe.model_copy(update={"tuned": {division.place: tuned for division in self.inner}})
        units: list[Unit] = []
        for i in steps:
            units += units_of(given, self.inner[i], self._backbone, self._start, self._experiments)
        stores = self._study.films(self._view)
        return Plan(units=tuple(units), stores={name: store.folder for name, store in stores.items()})

    def _loss(self, unit: Unit) -> float:
        run = self._study.tracking.find(unit.fingerprint)
        history = pd.read_csv(self._study.tracking.file_of(run, HISTORY), index_col="epoch")
        return float(history.loc[int(run.data.metrics["best_epoch"]), f"val_loss_{self._recipe.headline}"])


class _OneBar:
    """A search's many small plans as one: of `total` units, fewer where trials are stopped early or share units."""

    def __init__(self, view: View, total: int) -> None:
        self._view, self._total, self._begun = view, total, False

    def stage(self, name: str, done: int, total: int) -> None:
        self._view.stage(name, done, total)

    def units(self, plan: Plan, to_run: int) -> None:
        if not self._begun and to_run:
            self._view.units(plan, max(self._total, to_run))
            self._begun = True

    def unit_event(self, unit: Unit, event: Event) -> None:
        self._view.unit_event(unit, event)


def _frugal(running: Running) -> Running:
    """Of hundreds of units only the figures are wanted: weights go when nothing starts from them any more, no pictures."""
    return running.model_copy(update={"keep_weights": "needed", "pictures": "none"})
