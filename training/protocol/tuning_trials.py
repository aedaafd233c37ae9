"""The trials of one search: an Optuna study that survives its runners.

Kept in a journal file on this machine, or with MDMT_OPTUNA_URI in a database (PostgreSQL) with a heartbeat, for runners on several
machines. A trial that was cut off has no reason noted: whoever comes next queues its settings again, and what its units had finished
is found. No number of such returns is too many: a runner's end is not the fault of the settings, and units that fail are counted
by the claim table. On one machine a dead runner is seen at once, on another one when its heartbeat has stopped.

The sampler is seeded anew for each trial, by the number of those finished. So one runner that is killed and started again tries what it
would have tried; several runners at once do not, because what they know when they choose depends on who is faster.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.pruners import WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from training.protocol.owner import is_gone, own_name

HEARTBEAT_SECONDS = 60
SMALLEST_FOLDS = 2  # inner folds that the pruner needs before it can say anything
# One-sided: worse than the best trial in both of the first two folds (p = 1/4) is enough. With three folds nothing below 1/8 exists, so
# that Optuna's own threshold of 0.1 would never stop a trial. What is lost by a wrong stop is one trial.
PRUNE_BELOW = 0.3
NEWBORN = timedelta(minutes=1)  # a trial whose runner has not signed it yet
OWNER, REASON, CONTINUES, PLANNED = "owner", "reason", "continues", "planned"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

Evaluate = Callable[[Trial], float]


class TrialFailed(RuntimeError):
    """The settings of this trial do not train: the search goes on without them."""


class Trials:
    """The study called `name`. `own` are the settings that are tried first."""

    def __init__(self, name: str, journal: Path, seed: int, own: Mapping[str, Any], heartbeat: int = HEARTBEAT_SECONDS) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # what people should know comes through the view
        self._seed, self._taken = seed, False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            pruner = WilcoxonPruner(p_threshold=PRUNE_BELOW, n_startup_steps=SMALLEST_FOLDS)
            storage = open_storage(journal, heartbeat)
        self.study = optuna.create_study(
            storage=storage, study_name=name, direction="minimize", pruner=pruner, load_if_exists=True
        )
        if not self.study.get_trials(deepcopy=False):
            self._enqueue(own)

    @property
    def finished(self) -> list[FrozenTrial]:
        """Trials with an answer: complete, pruned, or failed for a reason of their own."""
        return [t for t in self.study.get_trials(deepcopy=False) if t.state in FINISHED or _has_failed(t)]

    @property
    def best(self) -> FrozenTrial | None:
        """The lowest objective; of equal ones the earliest."""
        complete = [t for t in self.finished if t.state is TrialState.COMPLETE]
        return min(complete, key=lambda t: (t.value, t.number), default=None)

    def run(self, evaluate: Evaluate, total: int, after: Callable[[], None]) -> None:
        """Try until `total` trials are finished, those of earlier calls and other runners included; `after` each, and at the start.

        `evaluate` reports the value of inner fold i as step i and returns their mean; it may raise TrialPruned, or TrialFailed.
        """
        after()
        while len(self.finished) < total:
            self._queue_what_was_cut_off()
            self.study.sampler = TPESampler(seed=self._seed * 1_000_003 + len(self.finished))
            self._taken = False
            try:
                self.study.optimize(self._signed(evaluate), n_trials=1, catch=(TrialFailed,))
            except (UpdateFinishedTrialError, ValueError):
                if not self._taken:
                    raise
            after()

    def _signed(self, evaluate: Evaluate) -> Evaluate:
        """`evaluate`, with the runner's name on the trial first and the reason of a failure on it last."""

        def objective(trial: Trial) -> float:
            try:
                trial.set_user_attr(OWNER, own_name())
                try:
                    value = evaluate(trial)
                except TrialFailed as failed:
                    trial.set_user_attr(REASON, str(failed)[:2000])
                    raise
                trial.set_user_attr(REASON, "")
            except UpdateFinishedTrialError:  # this runner was thought dead, and another has begun the trial anew
                self._taken = True
                raise
            return value

        return objective

    def _queue_what_was_cut_off(self) -> None:
        """Queue the settings of every trial whose runner is gone, once."""
        trials = self.study.get_trials(deepcopy=False)
        continued = {t.user_attrs[CONTINUES] for t in trials if CONTINUES in t.user_attrs}
        for trial in trials:
            if _was_cut_off(trial):
                if trial.number not in continued:
                    self._enqueue(trial.user_attrs.get(PLANNED) or trial.params, {CONTINUES: trial.number})
                if trial.state is TrialState.RUNNING:
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _enqueue(self, settings: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> None:
        self.study.enqueue_trial(dict(settings), user_attrs={PLANNED: dict(settings), **(about or {})})


def open_storage(journal: Path, heartbeat: int) -> BaseStorage:
    """The database at MDMT_OPTUNA_URI, else the journal file."""
    uri = os.environ.get("MDMT_OPTUNA_URI")
    if uri:
        return RDBStorage(uri, heartbeat_interval=heartbeat, grace_period=2 * heartbeat)
    journal = journal.resolve()  # Optuna's lock links to it: a relative link leads nowhere, and a dead runner's lock would stay
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.touch()
    _drop_torn_line(journal)
    return JournalStorage(JournalFileBackend(str(journal)))


def _drop_torn_line(journal: Path) -> None:
    """Cut what a full disk or a power cut left of a last line: Optuna would write its next one behind it and read neither."""
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    try:
        content = journal.read_bytes()
        if content and not content.endswith(b"\n"):
            with journal.open("rb+") as file:
                file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _has_failed(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.FAIL and bool(trial.user_attrs.get(REASON))


def _was_cut_off(trial: FrozenTrial) -> bool:
    if trial.state is TrialState.FAIL:
        return not _has_failed(trial)
    if trial.state is not TrialState.RUNNING:
        return False
    owner = trial.user_attrs.get(OWNER)
    if owner is None:
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > NEWBORN
    return is_gone(owner)
