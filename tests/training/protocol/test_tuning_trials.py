"""The trials of a search outlive their runners, whoever keeps them, and a hopeless one is stopped."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import Trial, TrialState

from tests.postgres import postgres_server, postgres_uri
from training.protocol.tuning_trials import CONTINUES, OWNER, TrialFailed, Trials

__all__ = ["postgres_server", "postgres_uri"]
OWN = {"x": 0.5}
REPO = Path(__file__).parents[3]


def trials_in(folder: Path, name: str = "search", heartbeat: int = 60) -> Trials:
    return Trials(name, folder / "fold.journal", 7, OWN, heartbeat)


def parabola(trial: Trial) -> float:
    """Lowest at 0.7; two inner folds that agree."""
    value = (trial.suggest_float("x", 0, 1) - 0.7) ** 2
    trial.report(value, 0)
    trial.report(value, 1)
    return value


def nothing() -> None: ...


def told(trials: Trials) -> list[tuple[object, ...]]:
    """What a search has found, whatever the numbers of its trials."""
    return [(t.params, t.state, t.value) for t in trials.finished]


@pytest.fixture
def undisturbed(tmp_path: Path) -> Trials:
    trials = trials_in(tmp_path / "undisturbed")
    trials.run(parabola, 14, nothing)
    return trials


def test_the_recipes_own_settings_come_first_and_the_best_is_the_lowest(undisturbed: Trials) -> None:
    finished = undisturbed.finished
    assert len(finished) == 14 and finished[0].params == OWN
    assert undisturbed.best is not None and undisturbed.best.value == min(t.value for t in finished if t.value is not None)
    assert len({t.params["x"] for t in finished}) == 14


def test_a_search_that_is_stopped_between_trials_tries_what_it_would_have_tried(undisturbed: Trials, tmp_path: Path) -> None:
    for total in (1, 2, 5, 12, 14, 14):
        trials_in(tmp_path).run(parabola, total, nothing)
    assert told(trials_in(tmp_path)) == told(undisturbed)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, ConnectionError])
def test_a_search_that_is_stopped_within_a_trial_tries_that_one_again(
    end: type[BaseException], undisturbed: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(trial: Trial) -> float:
        value = parabola(trial)
        if trial.number in (0, 3, 13):
            raise end
        return value

    for _ in range(3):
        with pytest.raises(end):
            trials_in(tmp_path).run(cut, 14, nothing)
        monkeypatch.setattr(
            "training.protocol.tuning_trials.is_gone", lambda owner: True
        )  # SystemExit: as if the process had ended
    trials_in(tmp_path).run(parabola, 14, nothing)
    assert told(trials_in(tmp_path)) == told(undisturbed)


KILLED_IN_THE_THIRD = """
import os, signal, sys
from pathlib import Path
from tests.training.protocol.test_tuning_trials import nothing, parabola, trials_in
def evaluate(trial):
    value = parabola(trial)
    if trial.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return value
trials_in(Path(sys.argv[1])).run(evaluate, 14, nothing)
"""


def test_a_runner_that_is_killed_leaves_nothing_behind_but_its_trial_which_is_tried_again(
    undisturbed: Trials, tmp_path: Path
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_THE_THIRD, tmp_path], cwd=REPO, check=False)
    assert killed.returncode == -signal.SIGKILL
    with (tmp_path / "fold.journal").open("a") as journal:
        journal.write('{"op_code": 5, "wor')  # as when the disk was full
    trials = trials_in(tmp_path)
    trials.run(parabola, 14, nothing)
    assert told(trials) == told(undisturbed)
    states = [(t.state, t.user_attrs.get(CONTINUES)) for t in trials.study.trials]
    assert states[2:4] == [(TrialState.FAIL, None), (TrialState.COMPLETE, 2)]


def test_a_trial_of_a_living_runner_is_left_alone(tmp_path: Path) -> None:
    first, second = trials_in(tmp_path), trials_in(tmp_path)

    def slow(trial: Trial) -> float:
        value = parabola(trial)
        if trial.number == 0:
            second.run(parabola, 1, nothing)  # meanwhile
        return value

    first.run(slow, 2, nothing)
    assert [(t.number, t.state, CONTINUES in t.user_attrs) for t in first.study.trials] == [
        (0, TrialState.COMPLETE, False),
        (1, TrialState.COMPLETE, False),
    ]


def test_settings_that_do_not_train_count_as_a_trial_with_a_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    def fragile(trial: Trial) -> float:
        value = parabola(trial)
        if trial.number == 1:
            raise TrialFailed("the loss is not finite")
        return value

    trials, seen = trials_in(tmp_path), []
    trials.run(fragile, 3, lambda: seen.append(len(trials.finished)))
    assert seen == [0, 1, 2, 3]
    assert [t.state for t in trials.finished] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert trials.finished[1].user_attrs["reason"] == "the loss is not finite"
    trials_in(tmp_path).run(fragile, 3, nothing)
    assert len(trials.study.trials) == 3


@pytest.mark.parametrize(("folds", "stopped"), [((0.2, 0.3), True), ((0.05, 0.3), False), ((0.1, 0.15), False)])
def test_a_trial_is_stopped_when_it_is_worse_than_the_best_in_both_of_the_first_two_folds(
    folds: tuple[float, float], stopped: bool, tmp_path: Path
) -> None:
    verdicts = []

    def evaluate(trial: Trial) -> float:
        trial.suggest_float("x", 0, 1)
        values = (0.1, 0.15, 0.2) if trial.number == 0 else (*folds, 0.2)
        for step in (0, 1):
            trial.report(values[step], step)
        verdicts.append(trial.should_prune())
        trial.report(values[2], 2)
        return sum(values) / 3

    trials_in(tmp_path).run(evaluate, 2, nothing)
    assert verdicts == [False, stopped]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"sqlite:///{tmp_path}/trials.db" if request.param == "sqlite" else request.getfixturevalue("postgres_uri")
    monkeypatch.setenv("MDMT_OPTUNA_URI", uri)


@pytest.mark.usefixtures("database")
@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed:UserWarning")  # the dead runner asks for its trial by hand
def test_a_database_keeps_the_trials_and_a_heartbeat_tells_of_dead_runners_of_other_machines(tmp_path: Path) -> None:
    trials = trials_in(tmp_path, "of several machines", heartbeat=1)
    dead = trials.study.ask()
    dead.suggest_float("x", 0, 1)
    dead.set_user_attr(OWNER, "elsewhere/1/2")
    trials.study._storage.record_heartbeat(dead._trial_id)  # type: ignore[attr-defined]  # its last

    def evaluate(trial: Trial) -> float:
        if trial.number == 1:
            time.sleep(3.2)  # more than two heartbeats of a second
        return parabola(trial)

    trials.run(evaluate, 4, nothing)
    again = [t for t in trials.study.trials if t.user_attrs.get(CONTINUES) == dead.number]
    assert [t.params for t in again] == [dead.params] == [OWN]
    assert len(trials.finished) == 4
    assert not (tmp_path / "fold.journal").exists()


@pytest.mark.usefixtures("database")
def test_a_runner_that_wakes_up_after_its_trial_was_given_to_another_changes_nothing_and_goes_on(tmp_path: Path) -> None:
    trials = trials_in(tmp_path, "of a sleeper")
    other = trials_in(tmp_path, "of a sleeper")

    def evaluate(trial: Trial) -> float:
        value = parabola(trial)
        if trial.number == 0:  # the heartbeat was not heard in time
            other.study.tell(trial.number, state=TrialState.FAIL)
            return -1.0
        return value

    trials.run(evaluate, 3, nothing)
    first, second = trials.study.trials[:2]
    assert (first.state, first.value) == (TrialState.FAIL, None)
    assert (second.params, second.user_attrs[CONTINUES], second.state) == (OWN, 0, TrialState.COMPLETE)
    assert len(trials.finished) == 3
