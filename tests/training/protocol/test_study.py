"""A study as a whole: finished work is found, lost work is done again, one bad unit does not cost the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.executors.process import ProcessExecutor
from tests.training.protocol.plans import NOWHERE
from tests.training.protocol.test_execution import FEW, on_disk, quick
from training.data.films import FILMS
from training.promotion import pick
from training.protocol.desk import WEIGHTS
from training.protocol.plan import Plan, make_plan
from training.protocol.recipe import Recipe, RecipeError
from training.protocol.study import Ran, Study
from training.protocol.summary import compare
from training.protocol.unit import Unit
from training.runs import pruned
from training.tracking import Tracking, TrackingError, default_uri

pytestmark = pytest.mark.long


class Quiet:
    """A view that remembers which units were trained, and whose files were said to be lost."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.lost: list[str] = []

    def stage(self, name: str, done: int, total: int) -> None: ...

    def units(self, plan: Plan, to_run: int) -> None: ...

    def unit_event(self, unit: Unit, event: dict[str, Any]) -> None:
        if event["event"] == "trained":
            self.trained.append(unit.title.replace("shufflenet_v2_x0_5-scratch/", ""))
        if event["event"] == "files-lost":
            self.lost.append(event["run"])


class Place:
    """A home and prepared films, on which recipes are run one after another."""

    def __init__(self, home: Path, films: Path) -> None:
        self.tracking, self.stores = Tracking(default_uri(home), home), on_disk(films)

    def plan(self, recipe: Recipe) -> Plan:
        return make_plan(recipe, FEW, self.stores, NOWHERE)

    def study(self, recipe: Recipe) -> Study:
        return Study(recipe, self.tracking.home, self.tracking, ProcessExecutor(1), 1)

    def run(self, recipe: Recipe) -> tuple[Ran, list[str]]:
        view = Quiet()
        return self.study(recipe).run_plan(self.plan(recipe), view), sorted(view.trained)


@pytest.fixture
def place(new_home: Callable[[], Path], tmp_path: Path) -> Place:
    return Place(new_home(), tmp_path)


def in_both(*names: str) -> list[str]:
    return sorted(f"{name}/cv/cv-{fold}" for name in names for fold in (0, 1))


def test_a_finished_recipe_runs_nothing_and_another_beta_runs_mdmt_alone(place: Place) -> None:
    first = quick(experiments=("stl-prognosis", "stl-severity", "mdmt"))
    assert place.run(first)[0] == Ran(distinct=6, now=6)
    assert place.run(first) == (Ran(distinct=6, now=0), [])
    other = first.model_copy(update={"beta": 0.25})
    assert place.run(other) == (Ran(distinct=6, now=2), in_both("mdmt"))


def test_weights_are_dropped_when_nobody_needs_them_and_trained_again_when_somebody_does(place: Place) -> None:
    first = quick(experiments=("stl-severity", "ft"), running={"keep_weights": "needed"})
    place.run(first)
    kept = {r.data.tags["mdmt.experiment"]: files(place, r) for r in place.tracking.finished().values()}
    assert WEIGHTS not in kept["stl-severity"] | kept["ft"]
    assert all(pruned(r) == [WEIGHTS] for r in place.tracking.finished().values() if r.data.tags["mdmt.experiment"] != "ft")
    assert place.run(first) == (Ran(distinct=4, now=0), [])
    more = first.model_copy(update={"experiments": ("stl-severity", "ft", "mdmt")})
    assert place.run(more)[1] == in_both("stl-severity", "stl-prognosis", "mdmt")


def files(place: Place, run: Any) -> set[str]:
    return {item.path for item in place.tracking.client.list_artifacts(run.info.run_id)}


def test_a_unit_whose_files_are_gone_is_trained_again_and_no_other_and_its_run_is_kept_until_then(place: Place) -> None:
    recipe = quick(experiments=("stl-severity", "ft"))
    place.run(recipe)
    lost = next(r for r in place.tracking.finished().values() if r.data.tags["mdmt.experiment"] == "ft")
    file = place.tracking.file_of(lost, "test-prognosis.csv")
    away = file.rename(place.tracking.home / "away.csv")

    class Interrupted(Quiet):
        def unit_event(self, unit: Unit, event: dict[str, Any]) -> None:
            super().unit_event(unit, event)
            if self.lost:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.study(recipe).run_plan(place.plan(recipe), Interrupted())
    away.rename(file)
    assert place.run(recipe) == (Ran(distinct=4, now=0), [])

    file.unlink()
    view = Quiet()
    assert place.study(recipe).run_plan(place.plan(recipe), view).now == 1
    assert view.lost == [lost.info.run_id]
    assert view.trained == [f"ft/cv/{lost.data.tags['mdmt.fold']}"]
    before = place.tracking.client.get_run(lost.info.run_id)
    assert before.info.status == "FAILED"
    assert place.tracking.find(lost.data.tags["mdmt.fingerprint"]).info.run_id in before.data.tags["mlflow.note.content"]


def test_artifacts_that_are_away_for_a_moment_cost_nothing(place: Place) -> None:
    recipe = quick(experiments=("stl-severity",))
    place.run(recipe)
    artifacts = place.tracking.home / "artifacts"
    away = artifacts.rename(place.tracking.home / "away")
    with pytest.raises(TrackingError, match="bring it back"):
        place.run(recipe)
    away.rename(artifacts)
    assert place.run(recipe) == (Ran(distinct=2, now=0), [])


def test_a_unit_whose_files_are_gone_and_that_fails_now_is_a_missing_cell_that_says_so(place: Place) -> None:
    recipe = quick(experiments=("stl-severity",), running={"attempts": 1})
    place.run(recipe)
    lost = next(iter(place.tracking.finished().values()))
    place.tracking.file_of(lost, "history.csv").unlink()
    store = place.stores["brixia"].folder
    (store / FILMS).rename(store / "gone")
    study = place.study(recipe)
    study._plan = place.plan(recipe)
    assert len(study.run_plan(study._plan, Quiet()).failed) == 1
    missing = [unit for unit in study.results().units if unit.state != "finished"]
    assert [unit.state for unit in missing] == ["missing"]
    assert f"files of its run {lost.info.run_id}" in missing[0].reason and "FileNotFoundError" in missing[0].reason


def test_a_unit_that_fails_too_often_is_quarantined_the_others_finish_and_the_report_says_which_cells_are_missing(
    place: Place,
) -> None:
    recipe = quick(running={"attempts": 2})
    broken = place.stores["aiforcovid"]
    (broken.folder / FILMS).rename(broken.folder / "gone")
    study, view = place.study(recipe), Quiet()
    plan = place.plan(recipe)
    ran = study.run_plan(plan, view)
    assert (ran.now, sorted(view.trained)) == (2, in_both("stl-severity"))
    assert len(ran.failed) == 4 and len(ran.skipped) == 4
    assert all("FileNotFoundError" in reason for reason in ran.failed.values())
    study._plan = plan
    states = {(u.experiment, u.task): (u.state, u.reason) for u in study.results().units}
    assert states["stl-severity", "severity"] == ("finished", "")
    assert states["stl-prognosis", "prognosis"][0] == "quarantined"
    assert states["ft-severity", "severity"][0] == "missing"
    assert "stl-prognosis" in states["ft-severity", "severity"][1]
    (broken.folder / "gone").rename(broken.folder / FILMS)
    assert study.run_plan(plan, view).now == 0
    study.claims.forgive()
    assert study.run_plan(plan, view) == Ran(distinct=10, now=8)


def test_a_study_of_evidence_alone_runs_no_unit_reports_its_evidence_and_has_nothing_to_register(place: Place) -> None:
    recipe = quick(experiments=(), evidence="lungs")
    assert place.run(recipe) == (Ran(distinct=0, now=0), [])
    study, folder = place.study(recipe), place.tracking.home / "report"
    study._plan = place.plan(recipe)
    results = study.results()
    study.report(results, folder)
    assert not list(folder.iterdir())
    with pytest.raises(RecipeError, match="has no 'mdmt' result"):
        pick(recipe, compare(results))
