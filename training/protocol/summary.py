"""From the folds to one line: mean and sd over folds, and pooled over all their test films, read from MLflow and written to it.

Both, because they answer different questions: where folds differ in size (one centre of AIforCOVID holds 61 % of the films) a mean
over folds and a figure over all films can be far apart.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from mlflow.entities import Run

from cxr.tasks import by_name
from training.evaluation import plots
from training.evaluation.comparison import Line
from training.evaluation.metrics import HEADLINE, Predictions, evaluate, mean_and_sd, pooled
from training.protocol.experiments import EXPERIMENTS
from training.protocol.plan import Plan
from training.tracking import Tracking


def summarise(parent_run: str, tasks: Sequence[str], members: Sequence[Run], tracking: Tracking) -> None:
    """Onto the parent run, unless it stands there already: "<metric>_mean" and "_sd" over the folds, "pooled_…", pooled plots."""
    figures: dict[str, float] = {}
    for name in sorted({name for run in members for name in run.data.metrics if name.startswith("test_")}):
        values = [run.data.metrics[name] for run in members if name in run.data.metrics]
        figures[f"{name}_mean"], figures[f"{name}_sd"] = mean_and_sd(values)
    known = tracking.client.get_run(parent_run).data.metrics
    if all(known.get(name) == value for name, value in figures.items()):
        return
    with tempfile.TemporaryDirectory() as name:
        for task in by_name(tasks):
            together = pooled([read_predictions(tracking, run, task.name, "test") for run in members])
            figures |= {f"pooled_{task.name}_{metric}": value for metric, value in evaluate(task, together).items()}
            plots.outcome(task, together, Path(name) / f"pooled-{task.name}.png")
        tracking.log_outcome(parent_run, figures, Path(name))


def compare(plan: Plan, tracking: Tracking) -> list[Line]:
    """The comparison of a finished plan, read back from MLflow. Raises TrackingError when a unit is not finished."""
    finished = tracking.finished()
    lines = []
    for group in dict.fromkeys(unit.group for unit in plan.units):
        units = [unit for unit in plan.units if unit.group == group]
        runs = [finished.get(unit.fingerprint) or tracking.find(unit.fingerprint) for unit in units]
        for task in by_name(units[0].tasks):
            prefix = f"test_{task.name}_"
            folds = {m: [r.data.metrics[prefix + m] for r in runs if prefix + m in r.data.metrics] for m in HEADLINE}
            together = pooled([read_predictions(tracking, run, task.name, "test") for run in runs])
            first, title = units[0], EXPERIMENTS[units[0].experiment].title
            where = (first.experiment, title, first.backbone.name, first.backbone.weights, first.scheme, task.name)
            lines.append(Line(*where, folds, evaluate(task, together), len(together)))
    return lines


def read_predictions(tracking: Tracking, run: Run, task: str, role: str) -> Predictions:
    """One unit's predictions of one task, as it logged them."""
    with tempfile.TemporaryDirectory() as folder:
        table = pd.read_csv(tracking.download(run.info.run_id, f"{role}-{task}.csv", Path(folder)))
    columns = [name for name in table.columns if name.startswith("p_")]
    return Predictions(tuple(table["film"]), table["truth"].to_numpy(), table[columns].to_numpy())
