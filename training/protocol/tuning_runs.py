"""A search in MLflow: one run of the search, and one nested run per trial. Every step may be repeated: what is there stays as it is.

A trial's run holds its settings, the value of each inner fold (steps), their mean, the fingerprints of its units, and how it ended:
complete (FINISHED), pruned (KILLED) or failed (FAILED, with the reason). A trial that was cut off has none: the one that goes on with
it has.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from filelock import FileLock
from mlflow.entities import Metric, Run
from optuna.trial import FrozenTrial, TrialState

from training import runs
from training.protocol.recipe import Recipe
from training.protocol.tuning_trials import REASON
from training.tracking import KIND, PAGE, PARENT, RECIPE, Tracking

TRIAL, TRIAL_KEY, STATE, UNITS = "mdmt.trial", "mdmt.trial_key", "mdmt.trial_state", "mdmt.units"
ENDS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
WORDS = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class SearchRuns:
    """The runs of the search called `name`; `value` is what the inner folds' values are called."""

    def __init__(self, tracking: Tracking, recipe: Recipe, name: str, value: str, tags: Mapping[str, str]) -> None:
        self._tracking, self._digest, self._name, self._value = tracking, recipe.digest(), name, value
        self._experiment = tracking.experiment(f"mdmt-{recipe.name}")
        self.run_id = tracking.parent_run(self._experiment, name, self._digest, {"mdmt.recipe": recipe.name, **tags})

    def log(self, trials: Iterable[FrozenTrial]) -> None:
        """Give every finished trial its run; one that was cut off in the middle of this is completed."""
        with FileLock(self._tracking.home / "tuning.lock"):
            known = {run.data.tags[TRIAL_KEY]: run for run in self._trial_runs()}
            for trial in trials:
                run = known.get(trial_key(trial))
                if run is None or run.info.status == "RUNNING":
                    self._log_trial(trial, run)

    def conclude(self, best: FrozenTrial, own: FrozenTrial | None, counts: Mapping[str, int], tuned: Mapping[str, Any]) -> None:
        """What was found, on the run of the search: figures, and `tuned.json`."""
        figures = {f"trials_{state}": float(n) for state, n in counts.items()} | {"best_trial": float(best.number)}
        values = {"best": best.value, "recipes_own": own.value if own else None}
        figures |= {name: value for name, value in values.items() if value is not None}
        self._tracking.client.log_dict(self.run_id, dict(tuned), "tuned.json")
        self._tracking.log_outcome(self.run_id, figures)

    def _log_trial(self, trial: FrozenTrial, run: Run | None) -> None:
        client = self._tracking.client
        assert trial.datetime_start is not None and trial.datetime_complete is not None
        ended = _milliseconds(trial.datetime_complete)
        if run is None:
            tags = {
                KIND: "trial",
                PARENT: self.run_id,
                RECIPE: self._digest,
                TRIAL: str(trial.number),
                TRIAL_KEY: trial_key(trial),
                STATE: WORDS[trial.state],
                UNITS: json.dumps(trial.user_attrs.get(UNITS, [])),
                **runs.provenance(),
            }
            name, started = f"{self._name}/trial-{trial.number:03}", _milliseconds(trial.datetime_start)
            run = client.create_run(self._experiment, start_time=started, tags=tags, run_name=name)
        run_id = run.info.run_id
        for setting, chosen in trial.params.items():
            client.log_param(run_id, setting, chosen)
        metrics = [Metric(self._value, value, ended, step) for step, value in sorted(trial.intermediate_values.items())]
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            metrics.append(Metric("objective", trial.value, ended, 0))
        client.log_batch(run_id, metrics=metrics)
        if reason := trial.user_attrs.get(REASON):
            client.set_tag(run_id, "mlflow.note.content", reason)
        client.set_terminated(run_id, ENDS[trial.state], end_time=ended)

    def _trial_runs(self) -> Sequence[Run]:
        wanted = f"tags.`{PARENT}` = '{self.run_id}' and tags.`{KIND}` = 'trial'"
        found: list[Run] = []
        page = None
        while True:
            batch = self._tracking.client.search_runs([self._experiment], wanted, max_results=PAGE, page_token=page)
            found += batch
            page = batch.token
            if not page:
                return found


def trial_key(trial: FrozenTrial) -> str:
    """A trial by its content: a number alone comes back when a journal was removed and the search began anew."""
    content = [trial.number, WORDS[trial.state], sorted(trial.params.items()), sorted(trial.intermediate_values.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
