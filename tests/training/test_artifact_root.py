"""A state that was moved, copied, or whose artifacts are away for a moment: nothing is taken for lost, nothing is written elsewhere."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from training import artifact_root, runs
from training.tracking import Tracking, TrackingError, default_uri


def opened(home: Path) -> Tracking:
    return Tracking(default_uri(home), home)


@pytest.fixture
def home(new_home: Callable[[], Path]) -> Path:
    """A state with a space in its path, with two finished units, a group without files, and a registered version."""
    home = new_home().rename(new_home() / "a state")
    tracking = opened(home)
    experiment = tracking.experiment("mdmt-test")
    tracking.parent_run(experiment, "group", "digest", {})
    for name in ("one", "two"):
        finish(tracking, experiment, name)
    folder = home / "bundle"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    tracking.register(tracking.find("one").info.run_id, folder, "mdmt", {})
    return home


def finish(tracking: Tracking, experiment: str, fingerprint: str) -> Path:
    tags = {"mdmt.kind": "unit", "mdmt.fingerprint": fingerprint, runs.FILES: json.dumps({"weights": 3})}
    file = tracking.home / "weights"
    file.write_bytes(b"abc")
    with tracking.run(experiment, fingerprint, tags, {}) as run:
        tracking.client.log_artifact(run.run_id, str(file))
    return tracking.file_of(tracking.find(fingerprint), "weights")


def test_a_moved_state_finds_its_files_and_writes_into_itself(home: Path, tmp_path: Path) -> None:
    moved = opened(home.rename(tmp_path / "moved"))
    assert moved.lost(moved.finished().values()) == []
    assert (moved.download_version("mdmt", 1, tmp_path / "back") / "model.onnx").read_bytes() == b"graph"
    group = moved.parent_run(moved.experiment("mdmt-test"), "group", "digest", {})
    moved.client.log_text(group, "x", "x.txt")
    assert finish(moved, moved.experiment("mdmt-test"), "three").is_relative_to(moved.home / "artifacts")
    assert not home.exists()


def test_a_copied_state_leaves_the_original_alone(home: Path, tmp_path: Path) -> None:
    before = sorted(home.rglob("*"))
    copy = opened(shutil.copytree(home, tmp_path / "copy"))
    shutil.rmtree(copy.file_of(copy.find("one"), "weights").parents[1])
    assert [run.data.tags["mdmt.fingerprint"] for run in copy.lost(copy.finished().values())] == ["one"]
    finish(copy, copy.experiment("mdmt-test"), "three")
    assert sorted(home.rglob("*")) == before
    original = opened(home)
    assert original.lost(original.finished().values()) == []


def test_a_database_that_was_copied_without_its_files_reads_them_where_they_are_until_they_come(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(home / "mlflow.db", tmp_path / "new")
    new = opened(tmp_path / "new")
    assert new.lost(new.finished().values()) == []
    last = finish(new, new.experiment("mdmt-test"), "three")
    shutil.copytree(home / "artifacts", tmp_path / "new" / "artifacts")
    shutil.rmtree(tmp_path / "new" / "artifacts" / last.parents[1].name)
    new = opened(tmp_path / "new")
    assert new.lost(new.finished().values()) == []
    assert new.file_of(new.find("three"), "weights") == last
    assert finish(new, new.experiment("mdmt-test"), "four").is_relative_to(tmp_path / "new")


def test_a_database_that_lies_elsewhere_keeps_its_places(home: Path, tmp_path: Path) -> None:
    tracking = Tracking(default_uri(home), tmp_path / "other")
    location = tracking.client.get_experiment_by_name("mdmt-test").artifact_location
    assert artifact_root.folder_of(location) == home / "artifacts"


@pytest.mark.parametrize("leave", [False, True], ids=["missing", "empty"])
def test_artifacts_that_are_away_are_asked_for_and_found_again(home: Path, tmp_path: Path, leave: bool) -> None:
    tracking, away = opened(home), tmp_path / "away"
    (home / "artifacts").rename(away)
    if leave:
        (home / "artifacts").mkdir()
    units = tracking.finished()
    for use in (
        lambda: tracking.lost(units.values()),
        lambda: tracking.lost([units["one"]]),
        lambda: tracking.experiment("mdmt-test"),
        lambda: tracking.experiment("mdmt-new"),
        lambda: tracking.file_of(units["one"], "weights"),
        lambda: tracking.download_version("mdmt", 1, tmp_path / "none"),
    ):
        with pytest.raises(TrackingError, match=r"a state/artifacts is missing or empty, .*: bring it back"):
            use()
    shutil.rmtree(home / "artifacts", ignore_errors=True)
    away.rename(home / "artifacts")
    assert tracking.lost(units.values()) == []


def test_a_store_that_never_had_files_may_have_no_folder(new_home: Callable[[], Path]) -> None:
    tracking = opened(new_home())
    first = tracking.experiment("mdmt-test")
    tracking.parent_run(first, "group", "digest", {})
    assert tracking.experiment("mdmt-test") == first


def test_all_files_lost_at_once_are_a_store_that_is_away_and_one_is_lost(home: Path) -> None:
    tracking = opened(home)
    units = tracking.finished()
    shutil.rmtree(home / "artifacts" / units["one"].info.run_id)
    assert tracking.lost(units.values()) == [units["one"]]
    shutil.rmtree(home / "artifacts" / units["two"].info.run_id)
    with pytest.raises(TrackingError, match="all 2 finished runs look as if their files were lost"):
        tracking.lost(units.values())
