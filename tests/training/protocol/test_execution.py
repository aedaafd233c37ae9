"""One unit from films to a sealed outcome: what it starts from, what it leaves behind, and what it must not."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cxr.engine import softmax
from tests.training.protocol.plans import COHORTS, NOWHERE, Recipe, plan, rebuilt, recipe
from tests.training.protocol.tiny import stores_of
from training.data.cohort import Cohort
from training.data.films import FILMS, FilmStore
from training.learning.backbones.backbone import average
from training.learning.calibration import WAYS
from training.learning.devices import Way
from training.protocol.desk import HISTORY, WEIGHTS, Desk, Outcome
from training.protocol.execution import collect, start, train, untrained, way_for
from training.protocol.plan import Plan
from training.protocol.recipe import Scheme
from training.protocol.unit import Unit

SIZE = 64
FEW = tuple(Cohort(one.name, one.rows[:30]) for one in COHORTS)


def on_disk(folder: Path) -> dict[str, FilmStore]:
    """A store of white noise for each cohort of FEW."""
    made = {}
    for one, store in stores_of(FEW).items():
        (folder / one).mkdir()
        count = len(store.entries)
        noise = np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8)
        (folder / one / FILMS).write_bytes(noise.tobytes())
        made[one] = replace(store, folder=folder / one)
    return made


def quick(**changes: object) -> Recipe:
    """One epoch in two folds."""
    training = recipe().training.model_dump() | {"max_epochs": 1, "hidden": 8}
    return recipe(schemes=(Scheme(kind="cv", folds=2),), training=training, **changes)


def first_fold(of: Plan) -> dict[str, Unit]:
    return {unit.experiment: unit for unit in of.units if unit.fold == "cv-0"}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan(quick(), on_disk(tmp_path_factory.mktemp("films")), FEW)


class Bench:
    """Trains units of a plan on desks under `home`; parents are read from their desks."""

    def __init__(self, planned: Plan, home: Path) -> None:
        self.planned, self.home = planned, home

    def desk(self, fingerprint: str) -> Desk:
        desk = Desk(self.home, fingerprint)
        desk.open()
        return desk

    def fetch(self, fingerprint: str) -> Path:
        return self.desk(fingerprint).folder / "outcome" / WEIGHTS

    def train(self, unit: Unit, desk: Desk | None = None, **options: bool) -> Outcome:
        on = desk or self.desk(unit.fingerprint)
        return train(unit, on, self.planned.stores, NOWHERE, self.fetch, on.spool, **options)


@pytest.fixture(scope="module")
def bench(planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(planned, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def outcomes(planned: Plan, bench: Bench) -> Mapping[str, Outcome]:
    """STL τ1, STL τ2 and MDMT of the first fold."""
    units = first_fold(planned)
    return {name: bench.train(units[name]) for name in ("stl-prognosis", "stl-severity", "mdmt")}


def test_the_films_of_a_role_come_in_the_order_of_the_unit_each_from_its_slot(planned: Plan) -> None:
    unit = first_fold(planned)["mdmt"]
    part, samples = unit.part("val"), collect(unit, planned.stores, "val")
    for i, sample in enumerate(part):
        stored = np.fromfile(planned.stores[sample.cohort] / FILMS, np.uint8).reshape(-1, SIZE, SIZE)
        assert np.array_equal(samples.films[i], stored[sample.slot])
        assert {t: int(samples.labels[i, j]) for j, t in enumerate(unit.tasks) if samples.known[i, j]} == sample.labels
    assert len(samples) == len(part) > 0


def test_units_of_one_cohort_share_a_mapping_and_a_store_that_has_grown_is_mapped_anew(planned: Plan, tmp_path: Path) -> None:
    first, second = (unit for unit in planned.units if unit.experiment == "stl-severity")
    (cohort,) = {sample.cohort for sample in first.part("train")}
    store = tmp_path / cohort
    store.mkdir()
    pixels = (planned.stores[cohort] / FILMS).read_bytes()
    (store / FILMS).write_bytes(pixels)
    before = collect(first, {cohort: store}, "train").films.stores
    assert collect(second, {cohort: store}, "test").films.stores[0] is before[0]
    with (store / FILMS).open("ab") as file:
        file.write(bytes(SIZE * SIZE))
    (after,) = collect(first, {cohort: store}, "train").films.stores
    assert len(after) == len(before[0]) + 1 and np.array_equal(after[:-1], before[0])


@pytest.mark.long
def test_a_unit_left_to_choose_tells_the_way_it_took_and_the_next_one_takes_it_too(planned: Plan, tmp_path: Path) -> None:
    first, second = (
        unit.model_copy(update={"training": unit.training.model_copy(update={"precision": "auto"})})
        for unit in planned.units
        if unit.experiment == "stl-severity"
    )
    outcome = Bench(planned, tmp_path).train(first, pictures=False, keep_weights=False)
    (file,) = (tmp_path / "calibration").iterdir()
    told = json.loads(file.read_text())
    way = Way(*told["way"])
    assert way in WAYS and outcome.tags["mdmt.way"] == str(way)
    other = next(one for one in WAYS if one != way)
    file.write_text(json.dumps(told | {"way": list(other)}))  # only who reads the table answers so
    assert way_for(second, untrained(second, NOWHERE), tmp_path) == other


def test_an_outcome_holds_weights_history_predictions_pictures_and_figures(
    planned: Plan, outcomes: Mapping[str, Outcome]
) -> None:
    unit, outcome = first_fold(planned)["mdmt"], outcomes["mdmt"]
    tables = {f"{role}-{task}.csv" for role in ("val", "test") for task in unit.tasks}
    assert outcome.sizes.keys() == {WEIGHTS, HISTORY, "curves.png", *tables, *(f"test-{task}.png" for task in unit.tasks)}
    assert all((outcome.folder / name).stat().st_size == size for name, size in outcome.sizes.items())
    wanted = {"best_epoch", "epochs", "seconds_per_epoch", "val_prognosis_acc"}
    wanted |= {f"test_prognosis_{m}" for m in ("acc", "f1", "gmean", "auc", "brier", "ece", "ece_calibrated", "temperature")}
    wanted |= {f"test_severity_{m}" for m in ("kappa", "mae", "abstained", "set_size", "coverage_0")}
    assert wanted <= outcome.figures.keys()
    assert outcome.tags["mdmt.start"].startswith("average of 2 STL backbones, shares 0.5, 0.5")


def test_pictures_and_weights_may_be_left_out(planned: Plan, tmp_path: Path) -> None:
    unit = first_fold(planned)["stl-prognosis"]
    outcome = Bench(planned, tmp_path).train(unit, pictures=False, keep_weights=False)
    assert outcome.sizes.keys() == {HISTORY, "val-prognosis.csv", "test-prognosis.csv"}


def test_predictions_are_of_the_test_films_by_digest_and_person_and_give_the_figures(
    planned: Plan, outcomes: Mapping[str, Outcome]
) -> None:
    unit, outcome = first_fold(planned)["stl-severity"], outcomes["stl-severity"]
    table = pd.read_csv(outcome.folder / "test-severity.csv")
    part = unit.part("test")
    assert list(table["film"]) == [sample.digest for sample in part]
    assert list(table["truth"]) == [sample.labels["severity"] for sample in part]
    same = [a.patient == b.patient for a in part for b in part]
    assert [a == b for a in table["patient"] for b in table["patient"]] == same
    assert set(table) == {"film", "patient", "truth", *(f"{kind}_{c}" for kind in ("logit", "p") for c in "0123")}
    p = table[[f"p_{c}" for c in "0123"]].to_numpy()
    np.testing.assert_allclose(p, softmax(table[[f"logit_{c}" for c in "0123"]].to_numpy()), atol=1e-5)
    assert outcome.figures["test_severity_acc"] == pytest.approx((p.argmax(axis=1) == table["truth"]).mean())


def test_a_unit_trained_again_gives_the_same_weights_to_the_bit(
    planned: Plan, bench: Bench, outcomes: Mapping[str, Outcome], tmp_path: Path
) -> None:
    again = Desk(tmp_path, "again")
    again.open()
    second = load_file(bench.train(first_fold(planned)["mdmt"], again).folder / WEIGHTS)
    first = load_file(outcomes["mdmt"].folder / WEIGHTS)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def started(unit: Unit, bench: Bench) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], str]:
    """The network's state before and after it is given what its parents learned, and the words for it."""
    before = {name: value.clone() for name, value in untrained(unit, NOWHERE).state_dict().items()}
    network = start(unit, NOWHERE, bench.fetch, collect(unit, bench.planned.stores, "train"))
    return before, network.state_dict(), network.origin


def backbone_of(outcome: Outcome) -> dict[str, torch.Tensor]:
    return {name: value for name, value in load_file(outcome.folder / WEIGHTS).items() if name.startswith("backbone.")}


def heads_are_untouched(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("heads."))


@pytest.mark.parametrize(("experiment", "parent"), [("ft", "stl-severity"), ("ft-severity", "stl-prognosis")])
def test_fine_tuning_starts_from_a_copy_of_its_parents_backbone_and_a_new_head(
    experiment: str, parent: str, planned: Plan, bench: Bench, outcomes: Mapping[str, Outcome]
) -> None:
    before, after, words = started(first_fold(planned)[experiment], bench)
    assert all(torch.equal(after[name], value) for name, value in backbone_of(outcomes[parent]).items())
    assert heads_are_untouched(before, after)
    assert words == "copy of the parent's backbone"


@pytest.mark.parametrize("batch_norm", ["average", "reestimate", "initial"])
def test_mdmt_starts_from_the_average_of_both_backbones(
    batch_norm: str, planned: Plan, bench: Bench, outcomes: Mapping[str, Outcome]
) -> None:
    unit = rebuilt(first_fold(planned)["mdmt"], batch_norm=batch_norm, beta=0.25)
    before, after, words = started(unit, bench)
    both = [backbone_of(outcomes[name]) for name in ("stl-prognosis", "stl-severity")]
    expected = average(both, [0.25, 0.75])
    differ = {name for name, value in expected.items() if not torch.equal(value, after[name])}
    statistics = {n for n in expected if n.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")}
    assert differ <= (set() if batch_norm == "average" else statistics)
    assert bool(differ) == (batch_norm != "average")
    if batch_norm == "initial":
        assert all(torch.equal(after[name], before[name]) for name in statistics)
    assert heads_are_untouched(before, after)
    assert "shares 0.25, 0.75" in words


def test_a_unit_whose_loss_is_not_finite_seals_nothing(planned: Plan, bench: Bench) -> None:
    unit = first_fold(planned)["stl-prognosis"]
    broken = rebuilt(unit, training=unit.training.model_dump() | {"learning_rate": 1e30})
    with pytest.raises(FloatingPointError):
        bench.train(broken)
    assert bench.desk(broken.fingerprint).outcome is None
