"""The paper's study as a plan, on trees of the published sizes: every count of units and of test films is exact."""

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.training.protocol.simulation import bound, simulate
from training.data.cohort import Cohort
from training.data.cohorts import aiforcovid, brixia, published_sizes
from training.imagenet import WeightsNotFound
from training.protocol.estimate import expected_seconds
from training.protocol.plan import Plan, make_plan
from training.protocol.recipe import BackboneChoice, load_recipe

pytestmark = pytest.mark.long

CENTRES = {"A": 120, "B": 104, "C": 151, "D": 139, "E": 101, "F": 970}
ALL = "release-1+2+3"


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    root = tmp_path_factory.mktemp("published")
    published_sizes.write(root)
    return [
        Cohort("aiforcovid", aiforcovid.load(root / "AIforCOVID").rows),
        Cohort("brixia", brixia.load(root / "BRIXIA").rows),
    ]


@pytest.fixture(scope="module")
def plan(cohorts: list[Cohort]) -> Plan:
    paper = load_recipe("paper")
    scratch = tuple(BackboneChoice(name=choice.name, weights="scratch") for choice in paper.backbones)
    return make_plan(paper.model_copy(update={"backbones": scratch}), cohorts, None, Path("nowhere"))


def test_each_experiment_is_there_for_each_backbone_fold_and_release_and_severity_alone_only_once(plan: Plan) -> None:
    folds = 5 + 6
    assert len(plan.units) == 18 * 5 * folds * 3
    assert Counter(unit.experiment for unit in plan.distinct.values()) == {
        "stl-severity": 18 * folds,
        **dict.fromkeys(("stl-prognosis", "ft", "ft-severity", "mdmt"), 18 * folds * 3),
    }


def test_leaving_a_centre_out_tests_exactly_its_films(plan: Plan) -> None:
    units = [u for u in plan.units if (u.experiment, u.scheme, u.subset) == ("mdmt", "loco", ALL)]
    sizes = {(u.fold.removeprefix("loco-"), sum(s.cohort == "aiforcovid" for s in u.part("test"))) for u in units}
    assert sizes == set(CENTRES.items())


def test_no_film_is_dropped(plan: Plan, cohorts: list[Cohort]) -> None:
    everyone = {(cohort.name, row.id) for cohort in cohorts for row in cohort.rows}
    for unit in plan.units:
        if (unit.experiment, unit.subset) == ("mdmt", ALL) and unit.backbone.name == "resnet18":
            assert {(s.cohort, s.row) for s in unit.sheet.samples} == everyone


def test_the_plan_of_the_whole_paper_takes_seconds(cohorts: list[Cohort], plan: Plan) -> None:
    began = time.monotonic()
    smallest = load_recipe("paper").model_copy(update={"backbones": (BackboneChoice(name="resnet18", weights="scratch"),)})
    assert len(make_plan(smallest, cohorts, None, Path("nowhere")).distinct) == 11 * (1 + 4 * 3)
    assert time.monotonic() - began < 60


def test_weights_that_are_not_there_stop_the_plan_with_the_command_that_gets_them(cohorts: list[Cohort], tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFound, match="mdmt weights fetch densenet121"):
        make_plan(load_recipe("paper"), cohorts, None, tmp_path)


def test_on_64_and_on_1024_workers_the_paper_ends_within_5_percent_of_what_any_order_could_reach(plan: Plan) -> None:
    units = list(plan.distinct.values())
    seconds = expected_seconds(units, {})
    for slots in (64, 1024):
        assert simulate(units, seconds, slots).makespan <= bound(units, seconds, slots) / 0.95
