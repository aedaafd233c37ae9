"""`mdmt tune` as a whole, with units that are really trained: what it finds, what it never sees, and how it goes on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run

from tests.training.protocol.test_study import Quiet
from tests.training.protocol.tiny import SMALLEST, rows_only, stores_of, tiny_recipe
from training.data.cohort import Cohort
from training.data.films import FILMS, FilmStore
from training.protocol.desk import HISTORY
from training.protocol.finding import Finding
from training.protocol.job import Event
from training.protocol.plan import Plan, make_plan
from training.protocol.recipe import BackboneChoice, Recipe, Scheme, load_recipe
from training.protocol.schedule import Schedule
from training.protocol.study import Ran, Study, View
from training.protocol.tuning import choose_backbone, save, tune
from training.protocol.tuning_folds import TuningError
from training.protocol.tuning_search import Search
from training.protocol.unit import Unit
from training.protocol.worker import Worker
from training.runs import pruned
from training.settings import Training
from training.tracking import Tracking, default_uri

pytestmark = pytest.mark.long

COHORTS = (rows_only("aiforcovid", "prognosis", 2), rows_only("brixia", "severity", 4))
PLACE, SIZE, NOWHERE = "all/cv-0", 32, Path("nowhere")
RECIPE = tiny_recipe(
    pipeline={"size": SIZE},
    schemes=(Scheme(kind="cv", folds=2), Scheme(kind="loco", primary="aiforcovid")),
    training=Training(batch_size=32, max_epochs=2, patience=2, warmup_epochs=0, hidden=8).model_dump(),
)


class Here:
    """An executor in this process. It remembers the jobs it began, and is stopped by hand before the job of number `stop`."""

    def __init__(self, stop: int | None = None) -> None:
        self.jobs: list[Any] = []
        self._stop = stop

    def run(self, schedule: Schedule) -> None:
        events: Queue[Event] = Queue()
        worker = Worker(lambda event, **fields: events.put({"event": event, **fields}))
        while schedule.working:
            job = schedule.take()
            if job is not None:
                if len(self.jobs) == self._stop:
                    worker.finish()
                    raise KeyboardInterrupt
                self.jobs.append(job)
                worker.do(job)
            while job is None or not events.empty():
                event = events.get(timeout=60)
                schedule.hear(event)
                job = job or event
        worker.finish()

    @property
    def units(self) -> list[str]:
        return [job.unit.fingerprint for job in self.jobs]


class Prepared(Study):
    """A study on films that are there already."""

    def __init__(self, recipe: Recipe, tracking: Tracking, stores: Mapping[str, FilmStore], executor: Here) -> None:
        super().__init__(recipe, tracking.home, tracking, executor, 1)
        self._ready = dict(stores)

    @cached_property
    def cohorts(self) -> list[Cohort]:
        return list(COHORTS)

    def films(self, view: View) -> dict[str, FilmStore]:
        return self._ready


class Place:
    """A home, and films of white noise on which the same search is begun again and again."""

    def __init__(self, home: Path, films: Path) -> None:
        self.tracking, self.stores = Tracking(default_uri(home), home), {}
        for name, store in stores_of(COHORTS).items():
            (films / name).mkdir()
            noise = np.random.default_rng(5).integers(0, 256, (len(store.entries), SIZE, SIZE), dtype=np.uint8)
            (films / name / FILMS).write_bytes(noise.tobytes())
            self.stores[name] = replace(store, folder=films / name, size=SIZE)

    def tune(self, executor: Here, trials: int, recipe: Recipe = RECIPE, **options: Any) -> tuple[Recipe, Finding]:
        study = Prepared(recipe, self.tracking, self.stores, executor)
        tuned, findings = tune(study, Quiet(), [PLACE], trials, **{"folds": 2, **options})
        return tuned, findings[0]

    def plan(self, recipe: Recipe) -> Plan:
        return make_plan(recipe, COHORTS, self.stores, NOWHERE)

    def trial_runs(self) -> list[Run]:
        """Runs of the trials, by number."""
        experiment = self.tracking.client.get_experiment_by_name("mdmt-tiny").experiment_id
        found = self.tracking.client.search_runs([experiment], "tags.`mdmt.kind` = 'trial'")
        return sorted(found, key=lambda run: int(run.data.tags["mdmt.trial"]))


@pytest.fixture(scope="module")
def first(new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Here, Recipe, Finding]:
    """Two trials on two inner folds, undisturbed."""
    place, executor = Place(new_home(), tmp_path_factory.mktemp("films")), Here()
    return place, executor, *place.tune(executor, 2)


First = tuple[Place, Here, Recipe, Finding]


def test_a_trial_is_three_units_on_every_inner_fold(first: First) -> None:
    _, executor, _, finding = first
    units = [job.unit for job in executor.jobs]
    assert len(units) == len(set(executor.units)) == 2 * 2 * 3
    assert {unit.experiment for unit in units} == {"stl-prognosis", "stl-severity", "mdmt"}
    assert {(unit.scheme, unit.fold) for unit in units} == {("tuning", "cv-0-inner-0"), ("tuning", "cv-0-inner-1")}
    assert finding.trials == {"complete": 2, "pruned": 0, "failed": 0}


def test_no_row_film_or_person_that_the_fold_tests_is_in_any_unit_of_the_search(first: First) -> None:
    place, executor, _, _ = first
    outer = next(u for u in place.plan(RECIPE).units if (u.fold, u.experiment) == ("cv-0", "mdmt"))
    samples = [sample for job in executor.jobs for sample in job.unit.sheet.samples]
    assert {s.role for s in samples} == {"train", "val"}
    tested = outer.part("test")
    assert len(tested) > 10
    assert {s.digest for s in samples}.isdisjoint({s.digest for s in tested})
    assert {(s.cohort, s.row) for s in samples}.isdisjoint({(s.cohort, s.row) for s in tested})
    assert {s.patient for s in samples}.isdisjoint({s.patient for s in tested})
    assert {s.digest for s in samples} == {s.digest for role in ("train", "val") for s in outer.part(role)}


def test_the_value_of_a_trial_is_the_mean_validation_loss_of_the_headline_at_the_best_epochs(first: First) -> None:
    place, executor, _, finding = first
    runs = place.trial_runs()
    for run in runs:
        losses = []
        for job in executor.jobs:
            if job.unit.experiment == "mdmt" and job.unit.fingerprint in run.data.tags["mdmt.units"]:
                unit_run = place.tracking.find(job.unit.fingerprint)
                history = pd.read_csv(place.tracking.file_of(unit_run, HISTORY), index_col="epoch")
                losses.append(history["val_loss_prognosis"][history["val_loss"].idxmin()])
        assert len(losses) == 2 and run.data.metrics["objective"] == pytest.approx(np.mean(losses))
        steps = place.tracking.client.get_metric_history(run.info.run_id, "val_loss_prognosis")
        assert [(m.step, m.value) for m in steps] == list(enumerate(losses))
    assert finding.own == runs[0].data.metrics["objective"]
    assert finding.best == min(run.data.metrics["objective"] for run in runs)


def test_every_trial_is_a_run_within_the_run_of_the_search_with_settings_and_state(first: First) -> None:
    place, _, tuned, finding = first
    runs = place.trial_runs()
    assert [run.data.tags["mdmt.trial_state"] for run in runs] == ["complete", "complete"]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in runs}
    found = place.tracking.client.get_run(parent)
    assert found.data.metrics["best"] == finding.best and found.data.metrics["trials_complete"] == 2
    settings = {"learning_rate", "weight_decay", "dropout", "augmentation", "beta", "task_weighting"}
    assert all(run.data.params.keys() == settings for run in runs)
    assert runs[0].data.params["learning_rate"] == str(RECIPE.training.learning_rate)
    best = runs[[run.data.metrics["objective"] for run in runs].index(finding.best)]
    assert best.data.params["beta"] == str(tuned.tuned[PLACE].beta)


def test_units_of_a_search_keep_no_weights_and_no_pictures(first: First) -> None:
    place, executor, _, _ = first
    for job in executor.jobs:
        run = place.tracking.find(job.unit.fingerprint)
        kept = {item.path for item in place.tracking.client.list_artifacts(run.info.run_id)}
        assert kept == {HISTORY, *(f"val-{task}.csv" for task in job.unit.tasks)}
        assert bool(pruned(run)) == (job.unit.experiment != "mdmt")


def test_the_recipe_that_is_written_changes_the_units_of_the_tuned_fold_and_no_other(first: First, tmp_path: Path) -> None:
    place, _, tuned, finding = first
    save(tuned, tmp_path / "made" / "tuned.json")
    loaded = load_recipe(str(tmp_path / "made" / "tuned.json"))
    assert loaded == tuned and loaded.tuned == {PLACE: finding.tuned}
    assert loaded.model_dump(exclude={"tuned", "description"}) == RECIPE.model_dump(exclude={"tuned", "description"})
    assert loaded.description == (
        "as small as it gets; tuned by mdmt tune: all/cv-0 in 2 trials on 2 inner folds with shufflenet_v2_x0_5-scratch, seed 0"
    )
    other = finding.tuned.model_copy(update={"training": {**finding.tuned.training, "dropout": 0.123}})
    before, after = (place.plan(r) for r in (RECIPE, loaded.model_copy(update={"tuned": {PLACE: other}})))
    changed = {b.fold for b, a in zip(before.units, after.units, strict=True) if b.fingerprint != a.fingerprint}
    unchanged = {b.fold for b, a in zip(before.units, after.units, strict=True) if b.fingerprint == a.fingerprint}
    assert (changed, unchanged) == ({"cv-0"}, {"cv-1", "loco-A", "loco-B", "loco-C"})
    assert next(u for u in place.plan(loaded).units if u.fold == "cv-0").training == loaded.training_of(PLACE)


def test_the_same_search_again_trains_nothing_and_logs_nothing_and_more_trials_go_on_where_it_was(first: First) -> None:
    place, executor, tuned, finding = first
    again = Here()
    assert place.tune(again, 2) == (tuned, finding)
    assert (again.jobs, len(place.trial_runs())) == ([], 2)
    place.tune(again, 3)
    assert (len(again.jobs), len(place.trial_runs())) == (6, 3)
    assert set(again.units).isdisjoint(executor.units)


def test_a_search_that_is_stopped_within_a_trial_goes_on_without_training_a_unit_twice_and_finds_the_same(
    first: First, new_home: Callable[[], Path], tmp_path: Path
) -> None:
    _, executor, tuned, finding = first
    place, begun, rest = Place(new_home(), tmp_path), Here(stop=10), Here()
    with pytest.raises(KeyboardInterrupt):
        place.tune(begun, 2)
    assert place.tune(rest, 2) == (tuned, finding)
    assert begun.units + rest.units == executor.units
    assert [run.data.tags["mdmt.trial_state"] for run in place.trial_runs()] == ["complete", "complete"]


def test_a_trial_that_is_worse_than_the_best_in_both_of_the_first_two_folds_is_spared_the_third(
    monkeypatch: pytest.MonkeyPatch, new_home: Callable[[], Path], tmp_path: Path
) -> None:
    asked: list[set[str]] = []

    def pretend(study: Study, plan: Plan, view: View) -> Ran:
        asked.append({unit.fold for unit in plan.units})
        return Ran(len(plan.distinct), 0)

    def loss(search: Search, unit: Unit) -> float:
        """The recipe's own dropout is the best there is."""
        return abs(unit.training.dropout - RECIPE.training.dropout) + 0.01 * int(unit.fold[-1])

    monkeypatch.setattr(Study, "run_plan", pretend)
    monkeypatch.setattr(Search, "_loss", loss)
    place = Place(new_home(), tmp_path)
    _, finding = place.tune(Here(), 4, folds=3)
    two, third = {"cv-0-inner-0", "cv-0-inner-1"}, {"cv-0-inner-2"}
    assert asked == [two, third, two, two, two]
    assert finding.trials == {"complete": 1, "pruned": 3, "failed": 0} and finding.best == finding.own
    states = [(run.info.status, run.data.tags["mdmt.trial_state"], "objective" in run.data.metrics) for run in place.trial_runs()]
    assert states == [("FINISHED", "complete", True)] + 3 * [("KILLED", "pruned", False)]


def test_settings_that_do_not_train_are_a_failed_trial_with_its_reason(new_home: Callable[[], Path], tmp_path: Path) -> None:
    place = Place(new_home(), tmp_path)
    hopeless = RECIPE.model_copy(
        update={
            "training": RECIPE.training.model_copy(update={"learning_rate": 1e30}),
            "running": RECIPE.running.model_copy(update={"attempts": 1}),
        }
    )
    with pytest.raises(TuningError, match=r"no trial of all/cv-0 trained to its end; .*FloatingPointError"):
        place.tune(Here(), 1, hopeless)
    (run,) = place.trial_runs()
    assert (run.info.status, run.data.tags["mdmt.trial_state"]) == ("FAILED", "failed")
    assert "the loss is not finite" in run.data.tags["mlflow.note.content"]


def test_the_backbone_is_one_of_the_recipes() -> None:
    both = (SMALLEST, BackboneChoice(name="resnet18", weights="imagenet"), BackboneChoice(name="resnet18", weights="scratch"))
    recipe = RECIPE.model_copy(update={"backbones": both})
    assert choose_backbone(recipe, None) == SMALLEST
    assert choose_backbone(recipe, "resnet18-scratch") == both[2]
    with pytest.raises(TuningError, match=r"several of recipe 'tiny'; give one of: .*resnet18-imagenet, resnet18-scratch"):
        choose_backbone(recipe, "resnet18")
    with pytest.raises(TuningError, match="'resnet50' is none of"):
        choose_backbone(recipe, "resnet50")


@pytest.mark.parametrize(("options", "words"), [({"folds": 1}, "1 inner folds"), ({"trials": 0}, "0 trials")])
def test_a_search_without_trials_or_with_one_inner_fold_is_refused(options: dict[str, int], words: str, first: First) -> None:
    with pytest.raises(TuningError, match=words):
        first[0].tune(Here(), **{"trials": 1, **options})


def test_a_recipe_whose_served_experiment_does_not_learn_the_headline_is_refused(first: First) -> None:
    with pytest.raises(TuningError, match="does not learn headline 'age'"):
        first[0].tune(Here(), 1, RECIPE.model_copy(update={"headline": "age"}))
