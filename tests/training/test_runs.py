"""Steps of a run's life: what passes by itself, what is there, and each step done twice."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)
from sqlalchemy.exc import OperationalError

from training import runs
from training.tracking import Tracking, default_uri


def answered(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (MlflowException("x", INTERNAL_ERROR), True),
        (MlflowException("x", TEMPORARILY_UNAVAILABLE), True),
        (MlflowException("x", INVALID_PARAMETER_VALUE), False),
        (MlflowException("x", RESOURCE_DOES_NOT_EXIST), False),
        (answered(500), True),
        (answered(503), True),
        (answered(429), True),
        (answered(403), False),
        (answered(404), False),
        (requests.ConnectionError("refused"), True),
        (requests.ReadTimeout("slow"), True),
        (OperationalError("q", {}, Exception("database is locked")), True),
        (ConnectionResetError(), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (FileNotFoundError(), False),
        (ValueError(), False),
    ],
)
def test_what_waiting_can_mend_is_told_from_a_refusal(error: Exception, passing: bool) -> None:
    assert runs.is_passing(error) is passing


class Bench:
    """One store, and a folder of files to upload."""

    def __init__(self, home: Path) -> None:
        self.tracking = Tracking(default_uri(home), home)
        self.client = self.tracking.client
        self.experiment = self.tracking.experiment("mdmt-runs")
        self.folder = home / "outcome"
        self.folder.mkdir()
        (self.folder / "weights").write_bytes(b"w" * 1000)
        (self.folder / "table.csv").write_text("a,b")
        self.sizes = {path.name: path.stat().st_size for path in self.folder.iterdir()}

    def open(self, fingerprint: str = "f") -> str:
        return runs.open_run(self.client, self.experiment, "a run", {"mdmt.fingerprint": fingerprint}, {"seed": 1})

    def whole(self) -> Run:
        """A run with all its files and its list of them."""
        run_id = self.open()
        runs.upload(self.client, run_id, self.folder, self.sizes)
        runs.log(self.client, run_id, [], {runs.FILES: json.dumps(self.sizes)})
        return self.client.get_run(run_id)

    def stored(self, run: Run, name: str) -> Path:
        return Path(runs.files_of(self.client, run).artifact_dir) / name  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def bench(new_home: Callable[[], Path]) -> Bench:
    return Bench(new_home())


def test_a_run_is_readable_when_every_file_of_its_list_is_there_in_full_size(bench: Bench) -> None:
    run = bench.whole()
    assert runs.is_readable(bench.client, run)
    bench.stored(run, "table.csv").write_text("a")
    assert not runs.is_readable(bench.client, run)
    runs.upload(bench.client, run.info.run_id, bench.folder, bench.sizes)  # mends what is short
    assert runs.is_readable(bench.client, run)
    bench.stored(run, "weights").unlink()
    assert not runs.is_readable(bench.client, run)


def test_a_run_without_a_list_of_files_is_not_readable(bench: Bench) -> None:
    assert not runs.is_readable(bench.client, bench.client.get_run(bench.open()))


def test_files_that_are_there_in_full_are_not_sent_again(bench: Bench) -> None:
    run = bench.whole()
    before = bench.stored(run, "weights").stat().st_mtime_ns
    runs.upload(bench.client, run.info.run_id, bench.folder, bench.sizes)
    assert bench.stored(run, "weights").stat().st_mtime_ns == before


def test_a_file_that_does_not_arrive_whole_is_to_be_sent_again(bench: Bench) -> None:
    with pytest.raises(ConnectionError, match=r"table\.csv did not arrive whole") as caught:
        runs.upload(bench.client, bench.open(), bench.folder, bench.sizes | {"table.csv": 99})
    assert runs.is_passing(caught.value)


def test_weights_dropped_on_purpose_are_not_missed_and_dropping_them_twice_does_no_harm(bench: Bench) -> None:
    run = bench.whole()
    runs.prune(bench.client, run, "weights")
    run = bench.client.get_run(run.info.run_id)
    assert runs.pruned(run) == ["weights"]
    assert not bench.stored(run, "weights").exists()
    assert runs.is_readable(bench.client, run)
    runs.prune(bench.client, run, "weights")
    runs.prune(bench.client, run, "never there")
    assert runs.pruned(bench.client.get_run(run.info.run_id)) == ["weights"]


def test_the_same_metrics_sent_twice_arrive_once(bench: Bench) -> None:
    run_id = bench.open()
    for _ in range(3):
        runs.log(bench.client, run_id, runs.metrics_of({"loss": 0.1 + 0.2}, step=3, at=1_700_000_000_000), {})
    (metric,) = bench.client.get_metric_history(run_id, "loss")
    assert (metric.value, metric.step, metric.timestamp) == (0.1 + 0.2, 3, 1_700_000_000_000)


def test_open_runs_of_a_unit_are_found_in_every_experiment_and_ended_ones_are_not(bench: Bench) -> None:
    other = bench.tracking.experiment("mdmt-other")
    first = bench.open("wanted")
    second = runs.open_run(bench.client, other, "elsewhere", {"mdmt.fingerprint": "wanted"}, {})
    bench.open("not wanted")
    assert set(runs.unended(bench.client, "wanted")) == {first, second}
    runs.close(bench.client, first, "KILLED", "cut off")
    runs.close(bench.client, first, "KILLED", "cut off")
    assert runs.unended(bench.client, "wanted") == [second]
    assert bench.client.get_run(first).data.tags["mlflow.note.content"] == "cut off"


def test_a_deleted_run_is_not_there_and_neither_is_one_that_never_was(bench: Bench) -> None:
    run_id = bench.open()
    assert runs.is_there(bench.client, run_id)
    bench.client.delete_run(run_id)
    assert not runs.is_there(bench.client, run_id)
    assert not runs.is_there(bench.client, "0" * 32)


def test_a_file_of_a_local_store_is_read_where_it_is(bench: Bench, tmp_path: Path) -> None:
    run = bench.whole()
    assert runs.local_copy(bench.client, run, "weights", tmp_path) == bench.stored(run, "weights")
    assert list(tmp_path.iterdir()) == []


def test_a_run_says_which_code_made_it(bench: Bench) -> None:
    tags = bench.client.get_run(bench.open()).data.tags
    assert tags["mdmt.version.torch"]
    assert tags["mdmt.git_commit"] == runs.git_commit()


def test_outside_a_checkout_the_commit_is_the_one_that_the_image_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = runs.git_commit.__wrapped__
    monkeypatch.setenv("PATH", "")  # no git, as in an image
    assert asked() == "unknown"
    monkeypatch.setenv("MDMT_COMMIT", "5f3c")
    assert asked() == "5f3c"
