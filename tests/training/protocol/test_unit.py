"""One unit from films to a finished run: what it starts from, what it leaves behind, and what it must not."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from cxr.engine import softmax
from cxr.tasks import by_name
from tests.training.protocol.test_plan import COHORTS, Recipe, plan, rebuilt, recipe, stores
from training.data.cohort import Cohort
from training.data.films import FILMS, FilmStore
from training.learning.backbones.backbone import average
from training.learning.network import create
from training.protocol.plan import Plan, Unit
from training.protocol.recipe import Scheme
from training.protocol.unit import WEIGHTS, collect, run_unit, start_from_parents
from training.tracking import Tracking, TrackingError, default_uri

SIZE = 64
FEW = tuple(Cohort(one.name, one.rows[:30]) for one in COHORTS)


def on_disk(folder: Path) -> dict[str, FilmStore]:
    """A store of white noise for each cohort of FEW."""
    made = {}
    for one, store in stores(FEW).items():
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
def tracking(new_home: Callable[[], Path]) -> Tracking:
    home = new_home()
    return Tracking(default_uri(home), home)


@pytest.fixture(scope="module")
def parent_run(tracking: Tracking) -> str:
    return tracking.parent_run(tracking.experiment("mdmt-units"), "group", "digest", {})


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan(quick(), on_disk(tmp_path_factory.mktemp("films")), FEW)


@pytest.fixture(scope="module")
def run_ids(planned: Plan, tracking: Tracking, parent_run: str) -> Mapping[str, str]:
    """Runs of STL τ1, STL τ2 and MDMT of the first fold."""
    units = first_fold(planned)
    torch.set_num_threads(1)
    wanted = ("stl-prognosis", "stl-severity", "mdmt")
    return {name: run_unit(units[name], planned.stores, tracking, parent_run) for name in wanted}


def weights_of(tracking: Tracking, run_id: str, folder: Path) -> dict[str, torch.Tensor]:
    return load_file(tracking.download(run_id, WEIGHTS, folder))


def test_the_films_of_a_role_come_in_the_order_of_the_unit_each_from_its_slot(planned: Plan) -> None:
    unit = first_fold(planned)["mdmt"]
    part, samples = unit.part("val"), collect(unit, planned.stores, "val")
    for i, sample in enumerate(part):
        stored = np.fromfile(planned.stores[sample.cohort] / FILMS, np.uint8).reshape(-1, SIZE, SIZE)
        assert np.array_equal(samples.films[i], stored[sample.slot])
        assert {t: int(samples.labels[i, j]) for j, t in enumerate(unit.tasks) if samples.known[i, j]} == sample.labels
    assert len(samples) == len(part) > 0


def test_a_run_is_finished_with_every_artifact_and_says_what_it_is(
    planned: Plan, tracking: Tracking, run_ids: Mapping[str, str]
) -> None:
    unit = first_fold(planned)["mdmt"]
    run = tracking.find(unit.fingerprint)
    assert (run.info.run_id, run.info.status) == (run_ids["mdmt"], "FINISHED")
    assert unit.tags.items() <= run.data.tags.items()
    names = {artifact.path for artifact in tracking.client.list_artifacts(run.info.run_id)}
    tables = {f"{role}-{task}.csv" for role in ("val", "test") for task in unit.tasks}
    assert names == {WEIGHTS, "curves.png", *tables, *(f"test-{task}.png" for task in unit.tasks)}
    assert {"train_loss", "val_loss", "best_epoch", "test_prognosis_acc", "test_severity_gmean"} <= run.data.metrics.keys()
    assert run.data.params["films_train"] == str(len(unit.part("train")))


def test_logged_predictions_are_of_the_test_films_by_digest_and_give_the_logged_accuracy(
    planned: Plan, tracking: Tracking, run_ids: Mapping[str, str], tmp_path: Path
) -> None:
    unit = first_fold(planned)["stl-severity"]
    table = pd.read_csv(tracking.download(run_ids["stl-severity"], "test-severity.csv", tmp_path))
    assert list(table["film"]) == [sample.digest for sample in unit.part("test")]
    assert list(table["truth"]) == [sample.labels["severity"] for sample in unit.part("test")]
    assert set(table) == {"film", "truth", *(f"{kind}_{c}" for kind in ("logit", "p") for c in "0123")}
    p = table[[f"p_{c}" for c in "0123"]].to_numpy()
    np.testing.assert_allclose(p, softmax(table[[f"logit_{c}" for c in "0123"]].to_numpy()), atol=1e-5)
    metrics = tracking.find(unit.fingerprint).data.metrics
    assert metrics["test_severity_acc"] == pytest.approx((p.argmax(axis=1) == table["truth"]).mean())


def test_a_unit_run_again_gives_the_same_weights_to_the_bit(
    planned: Plan, tracking: Tracking, parent_run: str, run_ids: Mapping[str, str], tmp_path: Path
) -> None:
    unit = first_fold(planned)["mdmt"]
    again = run_unit(unit, planned.stores, tracking, parent_run)
    first, second = (weights_of(tracking, run, tmp_path / run) for run in (run_ids["mdmt"], again))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def started(unit: Unit, planned: Plan, tracking: Tracking) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], str]:
    """The network's state before and after it is given what its parents learned, and the words for it."""
    network = create(unit.backbone.name, unit.backbone.weights, by_name(unit.tasks), unit.training.hidden, 0.5, unit.seed)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    words = start_from_parents(network, unit, tracking, collect(unit, planned.stores, "train"))
    return before, network.state_dict(), words


def parents_of(experiment: str, tracking: Tracking, run_ids: Mapping[str, str], folder: Path) -> dict[str, torch.Tensor]:
    states = weights_of(tracking, run_ids[experiment], folder / experiment)
    return {name: value for name, value in states.items() if name.startswith("backbone.")}


def test_fine_tuning_starts_from_a_copy_of_its_parents_backbone_and_a_new_head(
    planned: Plan, tracking: Tracking, run_ids: Mapping[str, str], tmp_path: Path
) -> None:
    before, after, words = started(first_fold(planned)["ft"], planned, tracking)
    parent = parents_of("stl-severity", tracking, run_ids, tmp_path)
    assert all(torch.equal(after[name], value) for name, value in parent.items())
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("heads."))
    assert words == "copy of the parent's backbone"


@pytest.mark.parametrize("batch_norm", ["average", "reestimate"])
def test_mdmt_starts_from_the_average_of_both_backbones(
    batch_norm: str, planned: Plan, tracking: Tracking, run_ids: Mapping[str, str], tmp_path: Path
) -> None:
    unit = rebuilt(first_fold(planned)["mdmt"], batch_norm=batch_norm, beta=0.25)
    before, after, words = started(unit, planned, tracking)
    both = [parents_of(name, tracking, run_ids, tmp_path) for name in ("stl-prognosis", "stl-severity")]
    expected = average(*both, 0.25)
    differ = {name for name, value in expected.items() if not torch.equal(value, after[name])}
    if batch_norm == "average":
        assert not differ
    else:
        assert differ
        assert all(name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked") for name in differ)
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("heads."))
    assert "beta 0.25" in words


def test_a_parent_that_is_not_finished_is_named(planned: Plan, tracking: Tracking) -> None:
    unit = rebuilt(first_fold(planned)["ft"], parents=("0123456789abcdef" * 4,))
    with pytest.raises(TrackingError, match=r"no finished run has fingerprint 0123456789ab…"):
        started(unit, planned, tracking)


def test_a_unit_that_fails_leaves_no_finished_run(planned: Plan, tracking: Tracking, parent_run: str) -> None:
    unit = first_fold(planned)["stl-prognosis"]
    broken = rebuilt(unit, training=unit.training.model_dump() | {"learning_rate": 1e30})
    with pytest.raises(FloatingPointError):
        run_unit(broken, planned.stores, tracking, parent_run)
    assert broken.fingerprint not in tracking.finished()
