"""The whole job on a tiny phantom: files → U-Net → films → units → report → version → alias → answers over HTTP."""

import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow
import mlflow.onnx
import numpy as np
import onnxruntime
import pytest
from safetensors.torch import load_file

from cxr.bundle import Bundle
from cxr.engine import softmax
from cxr.manifest import WEIGHTS
from cxr.tasks import PROGNOSIS, SEVERITY
from services.executors.process import ProcessExecutor
from serving.client import NoAnswer, post_film, wait_until_ready
from serving.server import running
from serving.settings import Settings
from tests.serving.tiny_bundle import encoded
from tests.training.protocol.tiny import tiny_recipe
from training.data.cohorts.phantom import PhantomSpec, generate
from training.evaluation.results import Line
from training.learning.fitting import predict
from training.learning.network import create
from training.promotion import promote
from training.protocol.plan import Plan
from training.protocol.ran import Ran
from training.protocol.recipe import RecipeError
from training.protocol.study import Study
from training.protocol.summary import compare
from training.protocol.unit import Unit
from training.registry import register
from training.settings import Training
from training.tracking import Tracking, default_uri
from training.version_card import findings

PHANTOM = PhantomSpec.small(prognosis_films=24, severity_films=24, lung_pairs=10, pixels=(128, 192), canvas=192, seed=1)
RECIPE = tiny_recipe(
    name="journey",
    experiments=("stl-prognosis", "stl-severity", "ft", "mdmt"),
    training=Training(batch_size=16, max_epochs=1, patience=1, warmup_epochs=0, hidden=16),
)


@dataclass
class Watcher:
    """A view that remembers what it was shown."""

    stages: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    to_run: list[int] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def stage(self, name: str, done: int, total: int) -> None:
        self.stages.setdefault(name, []).append((done, total))

    def units(self, plan: Plan, to_run: int) -> None:
        self.to_run.append(to_run)

    def unit_event(self, unit: Unit, event: dict[str, Any]) -> None:
        if event["event"] == "done":
            self.done.append(unit.title)


@dataclass
class Journey:
    """What one way through leaves behind."""

    tracking: Tracking
    data: Path
    first: Watcher
    lines: list[Line]
    unit: Unit
    study: Study
    version: int

    def again(self) -> Study:
        """The same recipe by another process, as it were: nothing is remembered but what lies in the home."""
        return Study(RECIPE, self.data, self.tracking, ProcessExecutor(2), 2)


@pytest.fixture(scope="module")
def journey(new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Journey:
    data, home = tmp_path_factory.mktemp("data"), new_home()
    generate(data, PHANTOM, workers=1)
    tracking = Tracking(default_uri(home), home)
    # One worker: most of its time each imports torch.
    study, first = Study(RECIPE, data, tracking, ProcessExecutor(1), 1), Watcher()
    study.run(first)
    results = study.results()
    lines = compare(results)
    unit = study.refit(RECIPE.backbones[0], first)
    found = findings(RECIPE, unit.backbone, study.plan(first), results, lines, study.cohorts)
    version, _ = register(RECIPE, unit, found, study.segmenter(first), tracking)
    promote(RECIPE.registered_name, version, "champion", "journey", tracking)
    return Journey(tracking, data, first, lines, unit, study, version)


@pytest.fixture(scope="module")
def service(journey: Journey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    cache = tmp_path_factory.mktemp("cache")
    settings = Settings(tracking_uri=journey.tracking.uri, cache_dir=cache, retry_seconds=0.2, engine="onnxruntime")
    with running(settings) as url:
        wait_until_ready(url)
        yield url


@pytest.fixture(scope="module")
def bundle(journey: Journey, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = journey.tracking.download_version("mdmt", journey.version, tmp_path_factory.mktemp("bundle") / "version")
    return Bundle(folder)


def test_every_stage_ran_and_every_unit_once_parents_first(journey: Journey) -> None:
    assert list(journey.first.stages) == ["lung U-Net", "films of aiforcovid", "films of brixia"]
    assert all(steps[-1][0] == steps[-1][1] for steps in journey.first.stages.values())
    assert journey.first.to_run == [8, 3]
    order = [title.split("/")[0] for title in journey.first.done if title.endswith("refit")]
    assert order[-1] == "mdmt"
    assert sorted(order) == ["mdmt", "stl-prognosis", "stl-severity"]
    assert len(journey.first.done) == len(set(journey.first.done)) == 11


def test_every_film_was_prepared_and_the_report_covers_every_experiment_and_task(journey: Journey) -> None:
    stores = journey.study.films(Watcher())
    assert {name: len(store.usable) for name, store in stores.items()} == {"aiforcovid": 24, "brixia": 24}
    expected = {
        ("stl-prognosis", "prognosis"),
        ("stl-severity", "severity"),
        ("ft", "prognosis"),
        ("mdmt", "prognosis"),
        ("mdmt", "severity"),
    }
    assert {(line.experiment, line.task) for line in journey.lines} == expected
    for line in journey.lines:
        assert line.films == 24  # every film is tested once
        assert all(0 <= value <= 1 for values in line.folds.values() for value in values)
        assert len(line.folds["acc"]) == 2


def test_the_group_run_holds_mean_and_pooled_figures_as_the_report_shows_them(journey: Journey) -> None:
    line = next(line for line in journey.lines if (line.experiment, line.task) == ("mdmt", "severity"))
    group = "mdmt/shufflenet_v2_x0_5-scratch/cv"
    run_id = journey.tracking.parent_run(journey.tracking.experiment("mdmt-journey"), group, RECIPE.digest(), {})
    metrics = journey.tracking.client.get_run(run_id).data.metrics
    assert metrics["test_severity_acc_mean"] == pytest.approx(np.mean(line.folds["acc"]))
    assert metrics["pooled_severity_acc"] == pytest.approx(line.pooled["acc"])
    pictures = {artifact.path for artifact in journey.tracking.client.list_artifacts(run_id)}
    assert pictures == {"pooled-prognosis.png", "pooled-severity.png"}


def test_the_card_of_the_version_is_of_its_own_films_and_names_none_of_them(journey: Journey, bundle: Bundle) -> None:
    told = bundle.card
    assert "generated films (phantoms) only" in told
    assert "| prognosis | all films | 24 | 24 |" in told
    assert f"{len(journey.unit.part('train'))} films for training" in told
    stores = journey.study.films(Watcher())
    for cohort in journey.study.cohorts:
        assert all(f"{row.id} " not in told and row.patient not in told for row in cohort.rows)
        assert all(entry["digest"] not in told for entry in stores[cohort.name].usable.values())
    assert len(told) < 60_000


def test_the_service_gives_out_the_card(service: str, bundle: Bundle) -> None:
    answer = urllib.request.urlopen(f"{service}/model/card")
    assert answer.headers.get_content_type() == "text/markdown"
    assert answer.read().decode() == bundle.card


def test_the_same_recipe_again_runs_nothing_and_registers_nothing(journey: Journey) -> None:
    study, view = journey.again(), Watcher()
    assert study.run(view) == Ran(distinct=8, now=0)
    results = study.results()
    assert compare(results) == journey.lines
    unit = study.refit(RECIPE.backbones[0], view)
    assert (unit.fingerprint, view.to_run, view.done) == (journey.unit.fingerprint, [0, 0], [])
    found = findings(RECIPE, unit.backbone, study.plan(view), results, journey.lines, study.cohorts)
    assert register(RECIPE, unit, found, study.segmenter(view), journey.tracking) == (journey.version, False)
    assert view.stages == {}


def test_every_film_that_the_folds_tested_calibrates_the_version(bundle: Bundle) -> None:
    assert {task: limits.films for task, limits in bundle.manifest.conformal.items()} == {"prognosis": 24, "severity": 24}
    assert f"prognosis T = {bundle.manifest.temperatures['prognosis']:.2f} from 24 films" in bundle.card


def test_a_version_that_no_fold_speaks_for_is_not_registered(journey: Journey) -> None:
    recipe = RECIPE.model_copy(update={"registered_name": "untested"})
    study = journey.study
    found = findings(recipe, journey.unit.backbone, study.plan(Watcher()), study.results(), journey.lines, study.cohorts)
    with pytest.raises(RecipeError, match="no finished fold of 'mdmt' has tested a film of severity, so nothing can calibrate"):
        register(recipe, journey.unit, replace(found, judged=found.judged[:1]), study.segmenter(Watcher()), journey.tracking)
    assert not journey.tracking.client.search_registered_models("name='untested'")


def test_the_service_answers_a_png_and_a_dicom_of_nobody_in_the_cohorts(journey: Journey, service: str) -> None:
    held_out = journey.data / "held-out"
    for file in (*sorted(held_out.glob("*.png")), *sorted(held_out.glob("*.dcm"))):
        answer = post_film(service, file)
        assert set(PROGNOSIS.classes) == set(answer["prognosis"]["probabilities"])
        assert sum(answer["severity"]["probabilities"].values()) == pytest.approx(1)
        assert answer["film"]["source"] == {"png": "png", "dcm": "dicom"}[file.suffix[1:]]
        assert answer["model"]["version"] == str(journey.version)
        assert answer["lungs"]["verdict"] in ("both-lungs", "one-lung")
    assert {file.suffix for file in held_out.iterdir()} >= {".png", ".dcm"}


def test_a_film_without_contrast_is_refused_by_the_service_in_words(service: str, tmp_path: Path) -> None:
    blank = tmp_path / "blank.png"
    blank.write_bytes(encoded(np.zeros((200, 200), np.uint8)))
    with pytest.raises(NoAnswer, match="422 Film without contrast"):
        post_film(service, blank)


def test_training_bundle_and_service_see_the_same_film_and_say_the_same(journey: Journey, service: str, bundle: Bundle) -> None:
    training = journey.unit.training
    network = create("shufflenet_v2_x0_5", "scratch", (PROGNOSIS, SEVERITY), training.hidden, training.dropout, seed=9)
    folder = bundle_folder(journey)
    network.load_state_dict(load_file(folder / WEIGHTS))
    for cohort in journey.study.cohorts:
        store = journey.study.films(Watcher())[cohort.name]
        for row in cohort.rows[:3]:
            data, slot = row.image.read_bytes(), store.entries[row.id]["slot"]
            answer, prediction = post_film(service, row.image), bundle.predict(data)
            assert store.entries[row.id]["digest"] == bundle.prepare(data).digest == answer["film"]["digest"]
            stored = np.array(store.pixels()[slot])[None]
            assert np.array_equal(stored[0], prediction.film.pixels)
            logits = predict(network, stored)
            for task in (PROGNOSIS, SEVERITY):
                mine = prediction.answers[task.name].probabilities
                theirs = [answer[task.name]["probabilities"][name] for name in task.classes]
                np.testing.assert_allclose(theirs, mine, atol=1e-6)
                own = softmax(logits[task.name], bundle.manifest.temperatures[task.name])[0]
                np.testing.assert_allclose(own, mine, atol=1e-4)


def bundle_folder(journey: Journey) -> Path:
    """Where `weights.safetensors` of the version can be read."""
    return journey.tracking.download_version("mdmt", journey.version, journey.tracking.home / "copy")


def test_a_stock_mlflow_client_loads_the_network_and_gives_the_same_logits(journey: Journey, bundle: Bundle) -> None:
    mlflow.set_tracking_uri(journey.tracking.uri)
    mlflow.set_registry_uri(journey.tracking.uri)
    assert int(mlflow.MlflowClient().get_model_version_by_alias("mdmt", "champion").version) == journey.version
    stock = mlflow.onnx.load_model("models:/mdmt@champion").SerializeToString()
    films = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    session = onnxruntime.InferenceSession(stock, providers=["CPUExecutionProvider"])
    logits = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"film": films[:, None]}), strict=True))
    for name, rows in bundle.engine.probabilities(films).items():
        np.testing.assert_allclose(softmax(logits[name], bundle.manifest.temperatures[name]), rows, atol=1e-6)


def test_the_version_says_where_it_comes_from_and_holds_nothing_of_a_patient(journey: Journey, bundle: Bundle) -> None:
    lineage = bundle.manifest.lineage
    assert (lineage["unit"], lineage["recipe_digest"]) == (journey.unit.fingerprint, RECIPE.digest())
    assert lineage["data_digest"] == journey.unit.sheet.digest
    bundle.check_golden()
    folder = bundle_folder(journey)
    texts = " ".join(path.read_text() for path in folder.iterdir() if path.suffix in (".json", ".md", "") and path.is_file())
    assert not [row.image.name for cohort in journey.study.cohorts for row in cohort.rows if row.image.name in texts]
    assert str(journey.data) not in texts
