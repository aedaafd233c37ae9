"""What a plan will take: counted exactly, and computed from measured costs, which are there for every backbone of the paper."""

import json
from pathlib import Path
from statistics import median

import pytest

from tests.training.protocol.plans import RELEASES, plan, recipe
from training.learning.backbones import NAMES
from training.protocol.estimate import COSTS, estimate, expected_seconds
from training.protocol.recipe import BackboneChoice
from training.protocol.recipes import EIGHTEEN
from training.settings import Training

BACKBONE = "shufflenet_v2_x0_5"
COST = json.loads(COSTS.read_text())["milliseconds"]


def test_the_committed_costs_name_every_backbone_of_the_paper_and_are_plausible() -> None:
    assert set(EIGHTEEN) <= COST.keys() <= set(NAMES)
    for sizes in COST.values():
        assert 0 < sizes["64"]["evaluate"] < sizes["64"]["train"] < sizes["224"]["train"]


def test_shared_units_are_counted_once_and_the_rows_say_where() -> None:
    found = estimate(plan(recipe(subsets=RELEASES)), {})
    assert found.counts["stl-severity", "cv", "release-1"] == (2, 2)
    assert found.counts["stl-severity", "loco", "release-3"] == (2, 0)
    assert (found.units, found.distinct) == (60, sum(new for _, new in found.counts.values()))
    assert all(shared < alone for shared, alone in zip(found.hours, found.alone, strict=True))


def test_where_nothing_is_shared_the_hours_are_those_of_all_units() -> None:
    found = estimate(plan(recipe(experiments=("stl-prognosis",))), {})
    assert found.units == found.distinct and found.alone == pytest.approx(found.hours)


def test_hours_are_films_times_epochs_times_the_measured_cost_between_earliest_and_latest_end() -> None:
    training = Training(batch_size=16, max_epochs=50, patience=10, warmup_epochs=5, hidden=16)
    given = plan(recipe(training=training.model_dump(), experiments=("stl-prognosis",)))
    films = sum(len(unit.part("train")) for unit in given.distinct.values())
    low, high = estimate(given, {}).hours
    assert high == pytest.approx(films * 50 * COST[BACKBONE]["64"]["train"] / 1000 / 3600)
    assert low / high == pytest.approx(16 / 50)
    assert estimate(given, {(BACKBONE, 64, "cpu"): 2.0}).hours[1] == pytest.approx(films * 50 * 2.0 / 3600)


def test_the_critical_path_is_a_chain_of_parents_and_no_longer_than_everything() -> None:
    given = plan()
    found = estimate(given, {})
    titles = {unit.title: unit for unit in given.units}
    for earlier, later in zip(found.chain, found.chain[1:], strict=False):
        assert titles[earlier].fingerprint in titles[later].parents
    assert found.chain[-1].startswith("mdmt/")
    assert 0 < found.critical[1] < found.hours[1]


def test_nobody_has_measured_a_gpu_and_the_plan_says_so() -> None:
    assert estimate(plan(recipe(device="cuda")), {}).unknown == (BACKBONE,)
    assert not estimate(plan(recipe(device="cuda")), {(BACKBONE, 64, "cuda"): 0.001}).unknown


def test_a_unit_is_expected_to_end_halfway_and_unmeasured_backbones_are_scaled_to_the_machine_of_the_measured() -> None:
    other = BackboneChoice(name="resnet18", weights="scratch")
    given = plan(recipe(backbones=(BackboneChoice(name=BACKBONE, weights="scratch"), other), experiments=("stl-prognosis",)))
    units = list(given.distinct.values())
    plain = expected_seconds(units, {})
    assert sum(plain.values()) == pytest.approx(1800 * sum(estimate(given, {}).hours))
    twice = expected_seconds(units, {(BACKBONE, 64, "cpu"): 2 * COST[BACKBONE]["64"]["train"] / 1000})
    assert twice == pytest.approx({fingerprint: 2 * seconds for fingerprint, seconds in plain.items()})
    elsewhere = expected_seconds(units, {(BACKBONE, 64, "cuda"): 9.0})
    assert elsewhere == plain


def test_a_backbone_that_is_not_in_the_committed_costs_counts_as_their_median_and_the_plan_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {name: sizes for name, sizes in COST.items() if name != BACKBONE}
    (tmp_path / "costs.json").write_text(json.dumps(json.loads(COSTS.read_text()) | {"milliseconds": kept}))
    monkeypatch.setattr("training.protocol.estimate.COSTS", tmp_path / "costs.json")
    other = BackboneChoice(name="resnet18", weights="scratch")
    given = plan(recipe(backbones=(BackboneChoice(name=BACKBONE, weights="scratch"), other), experiments=("stl-prognosis",)))
    units = list(given.distinct.values())
    expected = expected_seconds(units, {})
    middle, own = median(sizes["64"]["train"] for sizes in kept.values()), COST["resnet18"]["64"]["train"]
    assert sum(expected[u.fingerprint] for u in units if u.backbone.name == BACKBONE) == pytest.approx(
        middle / own * sum(expected[u.fingerprint] for u in units if u.backbone == other)
    )
    found = estimate(given, {})
    assert sum(expected.values()) == pytest.approx(1800 * sum(found.hours))
    assert found.sources[0].startswith("1 from costs.json") and found.sources[1:] == (
        f"the median of costs.json for what is not in it: {BACKBONE}",
    )
    measured = expected_seconds(units, {(BACKBONE, 64, "cpu"): 9.0})
    assert all(measured[u.fingerprint] == expected[u.fingerprint] for u in units if u.backbone == other)  # no ratio to a guess


def test_a_recipe_without_experiments_takes_no_hours() -> None:
    found = estimate(plan(recipe(experiments=(), evidence="lungs")), {})
    assert (found.units, found.hours, found.critical, found.chain) == (0, (0, 0), (0.0, 0.0), ())
