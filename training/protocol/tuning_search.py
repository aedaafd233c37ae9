"""The search in one outer fold: trials → units on inner folds → losses (see `tuning`)."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

import pandas as pd
from optuna import Trial, TrialPruned
from optuna.trial import TrialState

from training.protocol.desk import HISTORY
from training.protocol.experiments import in_order
from training.protocol.finding import Finding
from training.protocol.job import Event
from training.protocol.plan import Division, Plan, units_of
from training.protocol.recipe import SERVED, BackboneChoice, Tuned
from training.protocol.study import Study, View
from training.protocol.tuning_folds import TuningError, inner_folds
from training.protocol.tuning_runs import UNITS, WORDS, SearchRuns
from training.protocol.tuning_space import Space
from training.protocol.tuning_trials import REASON, SMALLEST_FOLDS, TrialFailed, Trials
from training.protocol.unit import Unit


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
        self.inner = inner_folds(outer, folds, self._recipe.seed)
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
            raise TuningError(f"no trial of {place} trained to its end; the last one: {finished[-1].user_attrs.get(REASON)}")
        counts = {word: sum(t.state is state for t in finished) for state, word in WORDS.items()}
        own = next((t for t in finished if t.params == self.space.own and t.state is TrialState.COMPLETE), None)
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
            served = [unit for unit in plan.units if unit.experiment == SERVED]
            for i, unit in zip(steps, served, strict=True):
                losses.append(self._loss(unit))
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
