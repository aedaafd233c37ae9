"""A study: the stages in the order of the work, each of which finds what an earlier call has already done."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Protocol

from mlflow.entities import Run

from training import imagenet, own_weights, runs
from training.data.cohort import Cohort
from training.data.films import FilmStore, is_prepared, prepare_cohort
from training.data.films.shelf import lock
from training.evaluation.report import write_report
from training.evaluation.results import Results
from training.protocol import lung_unet
from training.protocol.claims import ClaimTable
from training.protocol.desk import WEIGHTS, sweep
from training.protocol.estimate import expected_seconds, measured
from training.protocol.job import Event, Job
from training.protocol.plan import REFIT, Plan, make_plan
from training.protocol.ran import Ran, UnitsFailed
from training.protocol.recipe import SERVED, BackboneChoice, Recipe, Running, find_data
from training.protocol.schedule import Schedule
from training.protocol.sharing import units_per_gpu
from training.protocol.summary import collect, summarise
from training.protocol.unit import Unit
from training.tracking import FINGERPRINT, Tracking


class Executor(Protocol):
    """Works off a schedule: takes jobs, has them done somewhere, and lets the schedule hear every event of every unit."""

    def run(self, schedule: Schedule) -> None: ...


class View(Protocol):
    """Who watches: a progress bar on a terminal, or nobody."""

    def stage(self, name: str, done: int, total: int) -> None: ...

    def units(self, plan: Plan, to_run: int) -> None: ...

    def unit_event(self, unit: Unit, event: Event) -> None: ...


class Study:
    """One recipe on one data folder. Every stage calls the stages it needs, so any of them may be asked for first."""

    def __init__(self, recipe: Recipe, data: Path | None, tracking: Tracking, executor: Executor, workers: int) -> None:
        self.recipe, self.tracking = recipe, tracking
        self.data, self._executor, self._workers = find_data(recipe, data), executor, workers
        self._graph: Path | None = None
        self._stores: dict[str, FilmStore] | None = None
        self._plan: Plan | None = None
        self._sharers: int | None = None
        self._is_sound = False  # recipe and data have been held against each other
        self._drops: ThreadPoolExecutor | None = None

    def beside(self, recipe: Recipe) -> "Study":
        """Another recipe on the same data, by the same means."""
        return Study(recipe, self.data, self.tracking, self._executor, self._workers)

    @cached_property
    def cohorts(self) -> list[Cohort]:
        """Every data set of the recipe, read and checked. Raises CohortError with all offending rows."""
        cohorts = []
        for source in self.recipe.cohorts:
            reader = import_module(f"training.data.cohorts.{source.reader}")
            cohort = reader.load(self.data / source.path, **source.options)
            cohorts.append(Cohort(source.name, cohort.rows))
        return cohorts

    @cached_property
    def claims(self) -> ClaimTable:
        """The claims on units, in MLflow's database."""
        return ClaimTable(self.tracking.claims_uri, self.recipe.running.lease_seconds)

    @property
    def weights(self) -> Path:
        """Folder of weights to start from: ImageNet's, and in folders of their own the sets of `own_weights`."""
        return imagenet.folder(self.tracking.home)

    def segmenter(self, view: View) -> Path:
        """ONNX file of the lung U-Net."""
        if self._graph is None:  # every pair of film and mask is hashed to find it
            choice = self.recipe.segmenter

            def progress(epoch: int, epochs: int) -> None:
                view.stage("lung U-Net", epoch, epochs)

            self._graph = lung_unet.ensure_segmenter(self.data / choice.pairs, choice.preset, self.tracking, progress).graph
        return self._graph

    def segmenter_is_trained(self) -> bool:
        """Whether `segmenter` would find the lung U-Net; where it would not, it needs torch."""
        choice = self.recipe.segmenter
        if self._graph is None:
            found = lung_unet.find_segmenter(self.data / choice.pairs, choice.preset, self.tracking)
            self._graph = found and found.graph
        return self._graph is not None

    def films_are_prepared(self, view: View) -> bool:
        """Whether `films` would find every film prepared. The U-Net must be trained."""
        graph, root = self.segmenter(view), self.tracking.home / "films"
        return all(is_prepared(cohort, root, self.recipe.pipeline, graph) for cohort in self.cohorts)

    def films(self, view: View) -> dict[str, FilmStore]:
        """Film store of every cohort."""
        if self._stores is None:
            cohorts, graph, stores = self.cohorts, self.segmenter(view), {}
            for cohort in cohorts:

                def progress(done: int, total: int, name: str = cohort.name) -> None:
                    view.stage(f"films of {name}", done, total)

                folder = self.tracking.home / "films"
                folder.mkdir(parents=True, exist_ok=True)
                with lock(folder, cohort.name):  # a second runner waits, and finds them prepared
                    stores[cohort.name] = prepare_cohort(cohort, folder, self.recipe.pipeline, graph, self._workers, progress)
            self._stores = stores
        return self._stores

    def outline(self) -> Plan:
        """All units, counted from the tables of the data sets alone: neither films nor weights are needed, and it cannot be run."""
        plan = make_plan(self.recipe, self.cohorts, None, None)
        self._is_sound = True
        return plan

    def absent_weights(self) -> list[str]:
        """Backbones whose ImageNet weights the recipe asks for and this machine does not have."""
        return [b.name for b in self.recipe.backbones if b.weights == "imagenet" and not imagenet.is_here(b.name, self.weights)]

    def require_weights(self) -> None:
        """Raises WeightsNotFound naming what is absent, and how to get it, and WeightsRefused for a file that is not what it was."""
        if absent := self.absent_weights():
            raise imagenet.WeightsNotFound(
                f"recipe {self.recipe.name!r} starts from ImageNet weights that are not in {self.weights}: {', '.join(absent)}. "
                "`mdmt weights fetch --all` gets them, `mdmt weights import NAME FILE` takes a copy"
            )
        for backbone in self.recipe.backbones:
            if own_weights.is_set(backbone.weights):
                own_weights.note(backbone.weights, backbone.name, self.weights)

    def settle(self) -> Running:
        """How the work is done, `units_per_gpu` as a number. Raises NotMeasured, which says what to run."""
        if self._sharers is None:
            self._sharers = units_per_gpu(self.recipe, self.outline, self.tracking.home)
        return self.recipe.running.model_copy(update={"units_per_gpu": self._sharers})

    def plan(self, view: View) -> Plan:
        """All units of the recipe's schemes."""
        if self._plan is None:
            self.require_weights()
            self.settle()
            if not self._is_sound:
                self.outline()  # what is wrong with the recipe is better said before hours of preparation
            self._plan = make_plan(self.recipe, self.cohorts, self.films(view), self.weights)
        return self._plan

    def run(self, view: View) -> Ran:
        """Run what is not finished."""
        return self.run_plan(self.plan(view), view)

    def refit(self, backbone: BackboneChoice, view: View) -> Unit:
        """The served experiment on all films: its unit, finished. Raises UnitsFailed."""
        plan = make_plan(self.recipe, self.cohorts, self.films(view), self.weights, (REFIT,), (backbone,), (SERVED,))
        ran = self.run_plan(plan, view)
        if ran.failed:
            raise UnitsFailed(ran)
        return plan.units[-1]

    def run_plan(self, plan: Plan, view: View) -> Ran:
        """Run the units of a plan that no run has finished, then write means over folds to the group runs."""
        tracking = self.tracking
        finished, lost = self._found(plan)
        needed = self._needed(plan, finished)
        groups = self._group_runs(plan)
        jobs = [self._job(plan, plan.distinct[fingerprint], groups) for fingerprint in needed]
        view.units(plan, len(jobs))
        known = {f: run.info.run_id for f, run in finished.items() if f not in needed}
        seconds = expected_seconds([job.unit for job in jobs], measured(finished.values()))
        for fingerprint, run in lost.items():
            view.unit_event(plan.distinct[fingerprint], {"event": "files-lost", "unit": fingerprint, "run": run.info.run_id})
        schedule = Schedule(jobs, known, self.claims, self._listener(plan, set(finished), view), seconds)
        sweep(tracking.home, finished)
        if jobs:
            with self._dropping():
                self._executor.run(schedule)
            done = tracking.finished_runs(schedule.done[f] for f in needed if f in schedule.done)
            finished = {f: run for f, run in finished.items() if f not in needed} | done
            for fingerprint in lost.keys() & done.keys():
                reason = f"its files were not in the artifact store; trained again as run {done[fingerprint].info.run_id}"
                runs.close(tracking.client, lost[fingerprint].info.run_id, "FAILED", reason)
            sweep(tracking.home, finished)
        for group, units in plan.groups.items():
            summarise(groups[group], units, finished, self.recipe.running.pictures != "none", self.tracking)
        if self.recipe.running.keep_weights == "needed":
            for fingerprint, children in plan.children.items():
                if fingerprint in finished and children <= finished.keys():
                    runs.prune(tracking.client, finished[fingerprint], WEIGHTS)
        titles = {f: plan.distinct[f].title for f in needed}
        failed = {titles[f]: reason for f, reason in schedule.failed.items()}
        return Ran(
            len(plan.distinct), sum(f in schedule.done for f in needed), failed, tuple(titles[f] for f in schedule.skipped)
        )

    def _found(self, plan: Plan) -> tuple[dict[str, Run], dict[str, Run]]:
        """Finished units of the plan whose files are all there, and those whose files are not: these are free to be trained again.

        A run of the latter stays FINISHED until another has taken its place: should its files come back before, it is found again.
        """
        finished = self.tracking.finished(plan.distinct)
        lost = {run.data.tags[FINGERPRINT]: run for run in self.tracking.lost(finished.values())}
        for fingerprint, run in lost.items():
            self.claims.reopen(fingerprint, run.info.run_id)
        return {f: run for f, run in finished.items() if f not in lost}, lost

    def _needed(self, plan: Plan, finished: Mapping[str, Run]) -> list[str]:
        """What has to run, parents first: the unfinished, and the finished whose weights they need and that were dropped."""
        needed = {f for f in plan.distinct if f not in finished}
        for fingerprint in reversed(plan.distinct):
            run = finished.get(fingerprint)
            wanted = not needed.isdisjoint(plan.children.get(fingerprint, ()))
            if run is not None and wanted and WEIGHTS in runs.pruned(run):
                self.claims.reopen(fingerprint, run.info.run_id)
                runs.close(
                    self.tracking.client, run.info.run_id, "KILLED", "trained again: its weights were dropped and are needed"
                )
                needed.add(fingerprint)
        return [f for f in plan.distinct if f in needed]

    def _group_runs(self, plan: Plan) -> dict[str, Run]:
        experiment_id = self.tracking.experiment(f"mdmt-{self.recipe.name}")
        return self.tracking.parent_runs(experiment_id, plan.groups, self.recipe.digest(), {"mdmt.recipe": self.recipe.name})

    def _job(self, plan: Plan, unit: Unit, groups: Mapping[str, Run]) -> Job:
        kept = self.recipe.running.keep_weights == "all" or unit.fingerprint in plan.children or unit.scheme == REFIT
        return Job(
            unit=unit, stores=plan.stores, tracking_uri=self.tracking.uri, claims_uri=self.tracking.claims_uri,
            home=self.tracking.home, weights=self.weights, parent_run=groups[unit.group].info.run_id,
            keep_weights=kept, running=self.settle(),
        )  # fmt: skip

    def _listener(self, plan: Plan, finished: set[str], view: View) -> Callable[[Unit, Event], None]:
        """Shows every event, and drops weights that nobody needs any more."""
        done = set(finished)

        def listen(unit: Unit, event: Event) -> None:
            view.unit_event(unit, event)
            if event["event"] == "done":
                done.add(event["unit"])
                for parent in unit.parents if self._drops is not None else ():
                    if parent in done and plan.children[parent] <= done:
                        self._drops.submit(lambda parent=parent: self._drop(parent))

        return listen

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """Drop weights as soon as nobody needs them, beside the work: a server that is away must not hold it up."""
        if self.recipe.running.keep_weights == "needed":
            self._drops = ThreadPoolExecutor(1)
        try:
            yield
        finally:
            if self._drops is not None:
                self._drops.shutdown(cancel_futures=True)
                self._drops = None

    def _drop(self, fingerprint: str) -> None:
        with suppress(Exception):  # once more at the end of the run, for all that is left
            runs.prune(self.tracking.client, self.tracking.find(fingerprint), WEIGHTS)

    def results(self) -> Results:
        """Everything the plan has produced so far, read back from MLflow; what is missing says why."""
        return collect(self._planned(), self.recipe, self.tracking, self.claims.quarantined())

    def report(self, results: Results, folder: Path) -> None:
        """Write the report on these into `folder` (no units, no tables), and log all that is there to MLflow as a run of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        if results.units:
            write_report(results, folder)
        experiment_id = self.tracking.experiment(f"mdmt-{self.recipe.name}")
        tags = {"mdmt.recipe": self.recipe.name}
        run_id = self.tracking.parent_run(experiment_id, "report", self.recipe.digest(), tags)
        self.tracking.client.log_artifacts(run_id, str(folder))

    def _planned(self) -> Plan:
        if self._plan is None:
            raise RuntimeError("call plan() or run() first: there is nothing to report on")
        return self._plan
