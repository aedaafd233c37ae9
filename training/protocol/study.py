"""A study: the stages in the order of the work, each of which finds what an earlier call has already done."""

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Protocol

from training.data.cohort import Cohort
from training.data.films import FilmStore, prepare_cohort
from training.evaluation.comparison import Line
from training.protocol import lung_unet
from training.protocol.job import Event, Job
from training.protocol.plan import Plan, Unit, make_plan
from training.protocol.recipe import BackboneChoice, Recipe, find_data
from training.protocol.summary import compare, summarise
from training.tracking import Tracking

SERVED = "mdmt"  # the experiment whose refit is registered


class Executor(Protocol):
    """Runs jobs, parents first; reports every event of a unit ("epoch", "done", "failed")."""

    def run(self, jobs: Sequence[Job], on_event: Callable[[Unit, Event], None]) -> None: ...


class View(Protocol):
    """Who watches: a progress bar on a terminal, or nobody."""

    def stage(self, name: str, done: int, total: int) -> None: ...

    def units(self, plan: Plan, to_run: int) -> None: ...

    def unit_event(self, unit: Unit, event: Event) -> None: ...


class Study:
    """One recipe on one data folder. Every stage calls the stages it needs, so any of them may be asked for first."""

    def __init__(self, recipe: Recipe, data: Path | None, tracking: Tracking, executor: Executor, workers: int) -> None:
        self.recipe, self.tracking = recipe, tracking
        self._data, self._executor, self._workers = find_data(recipe, data), executor, workers
        self._stores: dict[str, FilmStore] | None = None
        self._plan: Plan | None = None

    @cached_property
    def cohorts(self) -> list[Cohort]:
        """Every data set of the recipe, read and checked. Raises CohortError with all offending rows."""
        cohorts = []
        for source in self.recipe.cohorts:
            reader = import_module(f"training.data.cohorts.{source.reader}")
            cohort = reader.load(self._data / source.path, **source.options)
            cohorts.append(Cohort(source.name, cohort.rows))
        return cohorts

    def segmenter(self, view: View) -> Path:
        """ONNX file of the lung U-Net."""
        choice = self.recipe.segmenter

        def progress(epoch: int, epochs: int) -> None:
            view.stage("lung U-Net", epoch, epochs)

        return lung_unet.ensure_segmenter(self._data / choice.pairs, choice.preset, self.tracking, progress).graph

    def films(self, view: View) -> dict[str, FilmStore]:
        """Film store of every cohort."""
        if self._stores is None:
            cohorts, graph, stores = self.cohorts, self.segmenter(view), {}
            for cohort in cohorts:

                def progress(done: int, total: int, name: str = cohort.name) -> None:
                    view.stage(f"films of {name}", done, total)

                folder = self.tracking.home / "films"
                stores[cohort.name] = prepare_cohort(cohort, folder, self.recipe.pipeline, graph, self._workers, progress)
            self._stores = stores
        return self._stores

    def plan(self, view: View) -> Plan:
        """All units of the recipe's schemes."""
        if self._plan is None:
            self._plan = make_plan(self.recipe, self.cohorts, self.films(view))
        return self._plan

    def run(self, view: View) -> tuple[int, int]:
        """Run what is not finished. Returns (units run, distinct units)."""
        return self._run_plan(self.plan(view), view)

    def refit(self, backbone: BackboneChoice, view: View) -> Unit:
        """The served experiment on all films: its unit, finished."""
        plan = make_plan(self.recipe, self.cohorts, self.films(view), ("refit",), (backbone,), (SERVED,))
        self._run_plan(plan, view)
        return plan.units[-1]

    def _run_plan(self, plan: Plan, view: View) -> tuple[int, int]:
        """Run the units of a plan that no run has finished, then write means over folds to the parent runs."""
        distinct, finished, tracking = plan.distinct(), self.tracking.finished(), self.tracking
        experiment_id = tracking.experiment(f"mdmt-{self.recipe.name}")
        tags, digest = {"mdmt.recipe": self.recipe.name}, self.recipe.digest()
        parents = {g: tracking.parent_run(experiment_id, g, digest, tags) for g in dict.fromkeys(u.group for u in plan.units)}
        jobs = [
            Job(unit=unit, stores=plan.stores, tracking_uri=tracking.uri, home=tracking.home, parent_run=parents[unit.group])
            for fingerprint, unit in distinct.items()
            if fingerprint not in finished
        ]
        view.units(plan, len(jobs))
        if jobs:
            self._executor.run(jobs, view.unit_event)
            finished = tracking.finished()
        for group, run_id in parents.items():
            units = [unit for unit in plan.units if unit.group == group]
            summarise(run_id, units[0].tasks, [finished[unit.fingerprint] for unit in units], tracking)
        return len(jobs), len(distinct)

    def compare(self) -> list[Line]:
        """The comparison of the finished plan, read back from MLflow. Raises TrackingError when a unit is not finished."""
        if self._plan is None:
            raise RuntimeError("compare() needs plan() or run() first")
        return compare(self._plan, self.tracking)
