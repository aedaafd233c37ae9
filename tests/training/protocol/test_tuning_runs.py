"""The runs of a search in MLflow: written once, whatever was cut off in between."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from tests.training.protocol.test_tuning_trials import parabola, trials_in
from tests.training.protocol.tiny import tiny_recipe
from training.protocol.tuning_runs import SearchRuns
from training.protocol.tuning_trials import TrialFailed
from training.tracking import Tracking, default_uri

RECIPE = tiny_recipe()


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[FrozenTrial]:
    """One complete, one failed."""

    def evaluate(trial: Trial) -> float:
        value = parabola(trial)
        if trial.number == 1:
            raise TrialFailed("not finite")
        return value

    search = trials_in(tmp_path_factory.mktemp("journal"))
    search.run(evaluate, 2, lambda: None)
    return search.finished


class Place:
    def __init__(self, home: Path) -> None:
        self.tracking = Tracking(default_uri(home), home)

    def runs(self) -> SearchRuns:
        return SearchRuns(
            self.tracking, RECIPE, "tuning/resnet18-scratch/all/cv-0/0123", "val_loss_prognosis", {"mdmt.fold": "cv-0"}
        )

    def logged(self) -> list[Run]:
        experiment = self.tracking.experiment("mdmt-tiny")
        found = self.tracking.client.search_runs([experiment], "tags.`mdmt.kind` = 'trial'")
        return sorted(found, key=lambda run: int(run.data.tags["mdmt.trial"]))


@pytest.fixture
def place(new_home: Callable[[], Path]) -> Place:
    return Place(new_home())


def test_logging_again_by_anyone_adds_no_run_and_no_figure(place: Place, trials: list[FrozenTrial]) -> None:
    for logged in (trials[:1], trials, trials):
        place.runs().log(logged)
    runs = place.logged()
    assert [(r.info.run_name, r.info.status) for r in runs] == [
        ("tuning/resnet18-scratch/all/cv-0/0123/trial-000", "FINISHED"),
        ("tuning/resnet18-scratch/all/cv-0/0123/trial-001", "FAILED"),
    ]
    assert {r.data.tags["mlflow.parentRunId"] for r in runs} == {place.runs().run_id}
    steps = place.tracking.client.get_metric_history(runs[0].info.run_id, "val_loss_prognosis")
    assert [(m.step, m.value) for m in steps] == [(0, trials[0].value), (1, trials[0].value)]
    started, ended = (m.timestamp() for m in (trials[0].datetime_start, trials[0].datetime_complete) if m)
    assert (runs[0].info.start_time, runs[0].info.end_time) == (int(1000 * started), int(1000 * ended))
    assert runs[1].data.tags["mlflow.note.content"] == "not finite"


def test_a_run_that_was_cut_off_while_it_was_written_is_completed(
    place: Place, trials: list[FrozenTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = place.runs()
    for step in ("log_param", "log_batch", "set_terminated"):
        with monkeypatch.context() as patch, pytest.raises(InterruptedError):
            patch.setattr(place.tracking.client, step, interrupted)
            writing.log(trials[:1])
        assert [run.info.status for run in place.logged()] == ["RUNNING"]
    writing.log(trials[:1])
    (run,) = place.logged()
    assert (run.info.status, run.data.metrics["objective"]) == ("FINISHED", trials[0].value)
    assert len(place.tracking.client.get_metric_history(run.info.run_id, "objective")) == 1


def interrupted(*_: object, **__: object) -> None:
    raise InterruptedError


def test_another_trial_of_the_same_number_after_a_lost_journal_has_a_run_of_its_own(
    place: Place, trials: list[FrozenTrial]
) -> None:
    other = create_trial(state=TrialState.COMPLETE, value=0.5, params={}, distributions={})
    other.number = 0
    place.runs().log([trials[0]])
    place.runs().log([other])
    assert [(run.data.tags["mdmt.trial"], run.data.metrics["objective"]) for run in place.logged()] in (
        [("0", trials[0].value), ("0", 0.5)],
        [("0", 0.5), ("0", trials[0].value)],
    )


def test_the_run_of_the_search_says_what_was_found(place: Place, trials: list[FrozenTrial]) -> None:
    writing = place.runs()
    for _ in range(2):
        writing.conclude(trials[0], None, {"complete": 1, "failed": 1}, {"all/cv-0": {"beta": 0.25}})
    run = place.tracking.client.get_run(writing.run_id)
    assert run.data.metrics == {"trials_complete": 1, "trials_failed": 1, "best_trial": 0, "best": trials[0].value}
    assert [item.path for item in place.tracking.client.list_artifacts(writing.run_id)] == ["tuned.json"]
