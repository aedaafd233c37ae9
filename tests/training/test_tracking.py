"""MLflow as the only memory: what counts as finished, how it is found again, and what many processes do at once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from training.runs import provenance
from training.tracking import Tracking, TrackingError, default_uri


@pytest.fixture(scope="module")
def tracking(new_home: Callable[[], Path]) -> Tracking:
    home = new_home()
    return Tracking(default_uri(home), home)


@pytest.fixture(scope="module")
def experiment(tracking: Tracking) -> str:
    return tracking.experiment("mdmt-test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "outcome"
    made.mkdir()
    (made / "weights.safetensors").write_bytes(b"weights")
    (made / "MLmodel").write_text("flavors: {}\nutc_time_created: '2026-01-01'\n")
    return made


def unit_tags(fingerprint: str) -> dict[str, str]:
    return {"mdmt.kind": "unit", "mdmt.fingerprint": fingerprint}


def finish(tracking: Tracking, experiment: str, fingerprint: str, folder: Path) -> str:
    with tracking.run(experiment, fingerprint, unit_tags(fingerprint), {"seed": 0}) as run:
        run.log_epoch(1, {"train_loss": 1.5})
        run.log_epoch(2, {"train_loss": 0.5})
        run.log_outcome({"test_prognosis_acc": 0.75}, folder)
    return run.run_id


def test_a_finished_run_is_found_by_its_fingerprint_with_its_metrics_and_files(
    tracking: Tracking, experiment: str, folder: Path, tmp_path: Path
) -> None:
    run_id = finish(tracking, experiment, "f1", folder)
    run = tracking.find("f1")
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert run.data.metrics == {"train_loss": 0.5, "test_prognosis_acc": 0.75}
    assert run.data.params == {"seed": "0"}
    assert [(m.step, m.value) for m in tracking.client.get_metric_history(run_id, "train_loss")] == [(1, 1.5), (2, 0.5)]
    assert tracking.artifact("f1", "weights.safetensors", tmp_path).read_bytes() == b"weights"
    assert tracking.finished()["f1"].info.run_id == run_id


def test_a_run_says_which_code_and_versions_made_it(tracking: Tracking, experiment: str, folder: Path) -> None:
    finish(tracking, experiment, "f-code", folder)
    tags = tracking.find("f-code").data.tags
    assert provenance().items() <= tags.items()
    assert {"mdmt.git_commit", "mdmt.version.torch", "mdmt.version.python"} <= provenance().keys()


def test_of_two_finished_runs_of_one_unit_the_newer_counts(tracking: Tracking, experiment: str, folder: Path) -> None:
    finish(tracking, experiment, "twice", folder)
    newer = finish(tracking, experiment, "twice", folder)
    assert tracking.find("twice").info.run_id == tracking.finished()["twice"].info.run_id == newer


def test_finished_units_are_found_among_few_among_many_and_by_their_runs(
    tracking: Tracking, experiment: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {name: finish(tracking, experiment, name, folder) for name in ("among-1", "among-2", "among-3")}
    newer = finish(tracking, experiment, "among-1", folder)
    with tracking.run(experiment, "among-4", unit_tags("among-4"), {}) as unfinished:
        for few in (1, 20):
            monkeypatch.setattr("training.tracking.FEW", few)
            found = tracking.finished(["among-1", "among-3", "among-4", "among-5"])
            assert {name: run.info.run_id for name, run in found.items()} == {"among-1": newer, "among-3": ids["among-3"]}
        monkeypatch.setattr("training.tracking.BATCH", 2)
        by_run = tracking.finished_runs([*ids.values(), unfinished.run_id])
    assert {name: run.info.run_id for name, run in by_run.items()} == ids
    assert tracking.finished([]) == tracking.finished_runs([]) == {}


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")], ids=str)
def test_a_run_that_fails_or_is_interrupted_is_not_finished(
    tracking: Tracking, experiment: str, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), tracking.run(experiment, status, unit_tags(status), {}) as run:
        run.log_epoch(1, {"train_loss": 1.0})
        raise error
    assert tracking.client.get_run(run.run_id).info.status == status
    assert status not in tracking.finished()
    with pytest.raises(TrackingError, match="no finished run has fingerprint"):
        tracking.find(status)


def test_a_run_that_is_still_open_is_not_finished(tracking: Tracking, experiment: str) -> None:
    with tracking.run(experiment, "open", unit_tags("open"), {}):
        assert "open" not in tracking.finished()


def test_a_missing_artifact_is_named_with_what_to_do(tracking: Tracking, experiment: str, folder: Path, tmp_path: Path) -> None:
    finish(tracking, experiment, "f-missing", folder)
    with pytest.raises(TrackingError, match=r"no readable artifact 'none\.csv': delete the run"):
        tracking.artifact("f-missing", "none.csv", tmp_path)


def test_the_parent_run_of_a_group_is_made_once_per_recipe_digest(tracking: Tracking, experiment: str) -> None:
    first = tracking.parent_run(experiment, "mdmt/resnet18-scratch/cv", "digest1", {"mdmt.recipe": "smoke"})
    assert tracking.parent_run(experiment, "mdmt/resnet18-scratch/cv", "digest1", {"mdmt.recipe": "smoke"}) == first
    assert tracking.parent_run(experiment, "mdmt/resnet18-scratch/cv", "digest2", {"mdmt.recipe": "smoke"}) != first
    assert tracking.parent_run(experiment, "ft/resnet18-scratch/cv", "digest1", {"mdmt.recipe": "smoke"}) != first
    tags = tracking.client.get_run(first).data.tags
    assert (tags["mdmt.kind"], tags["mdmt.recipe"]) == ("group", "smoke")


def test_an_experiment_keeps_its_id_and_its_artifacts_lie_in_the_home(tracking: Tracking, experiment: str) -> None:
    assert tracking.experiment("mdmt-test") == experiment
    assert tracking.client.get_experiment(experiment).artifact_location == (tracking.home / "artifacts").resolve().as_uri()


def test_a_deleted_experiment_is_refused_with_what_to_do_until_somebody_restores_it(tracking: Tracking) -> None:
    first = tracking.experiment("mdmt-deleted")
    tracking.client.delete_experiment(first)
    with pytest.raises(TrackingError, match=rf"'mdmt-deleted' was deleted .* restore --experiment-id {first}`.*mlflow gc "):
        tracking.experiment("mdmt-deleted")
    tracking.client.restore_experiment(first)
    assert tracking.experiment("mdmt-deleted") == first


def test_a_version_is_found_by_its_tag_and_gives_its_files_back(
    tracking: Tracking, experiment: str, folder: Path, tmp_path: Path
) -> None:
    run_id = finish(tracking, experiment, "f-version", folder)
    versions = [tracking.register(run_id, folder, "mdmt-test", {"mdmt.bundle": b}) for b in ("one", "two", "one")]
    assert versions == [1, 2, 3]
    assert tracking.version_with("mdmt-test", "mdmt.bundle", "one") == 3
    assert tracking.version_with("mdmt-test", "mdmt.bundle", "three") is None
    assert tracking.version_with("no-such", "mdmt.bundle", "one") is None
    stored = tracking.download_version("mdmt-test", 2, tmp_path / "back")
    assert (stored / "weights.safetensors").read_bytes() == b"weights"
    with pytest.raises(TrackingError, match="version 9 of mdmt-test has no readable files"):
        tracking.download_version("mdmt-test", 9, tmp_path / "none")


def test_files_that_do_not_arrive_in_the_store_make_no_version(
    new_home: Callable[[], Path], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home()
    tracking = Tracking(default_uri(home), home)
    run_id = finish(tracking, tracking.experiment("mdmt-test"), "f", folder)
    send = tracking.client.log_model_artifacts

    def cut(model_id: str, local: str) -> None:
        send(model_id, local)
        for stored in (home / "artifacts").rglob("weights.safetensors"):
            stored.write_bytes(b"weig")

    monkeypatch.setattr(tracking.client, "log_model_artifacts", cut)
    with pytest.raises(TrackingError, match=r"weights\.safetensors of mdmt-test did not arrive"):
        tracking.register(run_id, folder, "mdmt-test", {})
    with pytest.raises(MlflowException):
        tracking.client.get_registered_model("mdmt-test")


def test_a_server_that_is_not_there_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=r"no MLflow at http://127\.0\.0\.1:9: .*unset MLFLOW_TRACKING_URI"):
        Tracking("http://127.0.0.1:9", tmp_path)
