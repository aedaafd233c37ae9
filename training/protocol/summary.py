"""From finished units to values that can be reported: read from MLflow, and means over folds written back to it.

Means over folds and pooled figures both, because they answer different questions: where folds differ in size (one centre of AIforCOVID
holds 61 % of the films) they can be far apart.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from mlflow.entities import Run

from cxr.tasks import TASKS, by_name
from training.evaluation import plots
from training.evaluation.metrics import HEADLINE, Predictions, evaluate, mean_and_sd, pooled
from training.evaluation.report.survey import Group
from training.evaluation.results import Line, Results, Setting, UnitResult
from training.protocol.desk import HISTORY
from training.protocol.plan import Plan
from training.protocol.recipe import Recipe
from training.protocol.unit import Unit
from training.tracking import Tracking, TrackingError


def summarise(group: Run, units: Sequence[Unit], finished: Mapping[str, Run], pictures: bool, tracking: Tracking) -> None:
    """Onto the group run, unless it stands there already: "<metric>_mean" and "_sd" over the folds, "pooled_…", how many folds."""
    done = [unit for unit in units if unit.fingerprint in finished]
    members = [finished[unit.fingerprint] for unit in done]
    first = min((unit.repeat for unit in done), default=0)  # further repeats ask about the same films again
    asked_once = [finished[unit.fingerprint] for unit in done if unit.repeat == first]
    figures: dict[str, float] = {"folds": len(members), "folds_missing": len(units) - len(members)}
    measured = sorted({name for run in members for name in run.data.metrics if name.startswith("test_")})
    for name in measured:
        values = [run.data.metrics[name] for run in members if name in run.data.metrics]
        figures[f"{name}_mean"], figures[f"{name}_sd"] = mean_and_sd(values)
    known = group.data.metrics
    if not measured or all(known.get(name) == value for name, value in figures.items()):
        return
    with tempfile.TemporaryDirectory() as name:
        for task in by_name(units[0].tasks):
            together = pooled([read_predictions(tracking, run, task.name, "test") for run in asked_once])
            figures |= {f"pooled_{task.name}_{metric}": value for metric, value in evaluate(task, together).items()}
            if pictures:
                plots.outcome(task, together, Path(name) / f"pooled-{task.name}.png")
        tracking.log_outcome(group.info.run_id, figures, Path(name) if pictures else None)


def collect(plan: Plan, recipe: Recipe, tracking: Tracking, quarantined: Mapping[str, str]) -> Results:
    """Every unit of the plan and each of its tasks, finished or not."""
    finished = tracking.finished(plan.distinct)
    units: list[UnitResult] = []
    for unit in plan.units:
        run = finished.get(unit.fingerprint)
        for task in unit.tasks:
            where = {
                "experiment": unit.experiment,
                "title": recipe.known_experiments[unit.experiment].title,
                "backbone": unit.backbone.name,
                "weights": unit.backbone.weights,
                "subset": unit.subset,
                "scheme": unit.scheme,
                "repeat": unit.repeat,
                "fold": unit.fold,
                "task": task,
            }
            if run is None:
                reason = quarantined.get(unit.fingerprint) or _blocked(plan, unit, quarantined) or "not run yet"
                state = "quarantined" if unit.fingerprint in quarantined else "missing"
                units.append(UnitResult(**where, state=state, reason=reason))
                continue
            try:
                units.append(UnitResult(**where, state="finished", **_finding(run, task, tracking)))
            except TrackingError:
                if not tracking.lost([run]):
                    raise
                reason = quarantined.get(unit.fingerprint, "not trained again yet")
                gone = f"files of its run {run.info.run_id} are not in the artifact store: {reason}"
                units.append(UnitResult(**where, state="missing", reason=gone))
    return Results(recipe.name, recipe.description, recipe.headline, tuple(units), _provenance(plan, recipe, finished))


def _blocked(plan: Plan, unit: Unit, quarantined: Mapping[str, str]) -> str:
    """Why a unit that did not fail itself could not run."""
    for parent in unit.parents:
        if parent in quarantined:
            return f"{plan.distinct[parent].title}, which it starts from, is quarantined: {quarantined[parent]}"
    return ""


def _finding(run: Run, task: str, tracking: Tracking) -> dict[str, object]:
    prefix = f"test_{task}_"
    figures = {name.removeprefix(prefix): value for name, value in run.data.metrics.items() if name.startswith(prefix)}
    history = pd.read_csv(tracking.file_of(run, HISTORY), index_col="epoch")
    return {
        "test": read_predictions(tracking, run, task, "test"),
        "figures": figures,
        "history": history.to_dict("records"),
        "best_epoch": int(run.data.metrics["best_epoch"]),
        "run_id": run.info.run_id,
        "seconds": (run.info.end_time - run.info.start_time) / 1000,
    }


def _provenance(plan: Plan, recipe: Recipe, finished: Mapping[str, Run]) -> dict[str, str]:
    members = [finished[f] for f in plan.distinct if f in finished]
    tags = sorted({(name, value) for run in members for name, value in run.data.tags.items() if name.startswith("mdmt.version.")})
    given = {
        "recipe digest": recipe.digest(),
        "units": f"{len(plan.units)} in the tables, {len(plan.distinct)} distinct, {len(members)} finished",
        "commits": ", ".join(sorted({run.data.tags.get("mdmt.git_commit", "unknown") for run in members})),
        "versions": ", ".join(f"{name.removeprefix('mdmt.version.')} {value}" for name, value in tags),
        "device": f"{recipe.device}, {recipe.threads} thread(s) per unit",
        "films": f"{recipe.pipeline.size} px, pipeline {recipe.pipeline.digest()[:12]}",
    }
    if recipe.tuned:
        given["tuned"] = (
            "by the inner loss of MDMT; its rivals train with what was found for it, which need not be the best for them"
        )
    if members:
        first, last = min(run.info.start_time for run in members), max(run.info.end_time for run in members)
        hours = sum(run.info.end_time - run.info.start_time for run in members) / 3_600_000
        when = [datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M") for moment in (first, last)]
        given["trained"] = f"{when[0]} to {when[1]} UTC, {hours:.2f} unit hours"
    return given


def compare(results: Results) -> list[Line]:
    """One line per group of folds and task that has any result."""
    groups: dict[Setting, list[UnitResult]] = {}
    for unit in results.units:
        setting = Setting(**{field.name: getattr(unit, field.name) for field in fields(Setting)})
        groups.setdefault(setting, []).append(unit)
    lines = []
    for setting, members in groups.items():
        group = Group(tuple(members))
        if not group.measured:
            continue
        folds = {metric: group.values(metric) for metric in HEADLINE}
        figures, missing = evaluate(TASKS[setting.task], group.pooled()), len(members) - len(group.measured)
        lines.append(Line(**asdict(setting), folds=folds, pooled=figures, films=group.films, missing=missing))
    return lines


def read_predictions(tracking: Tracking, run: Run, task: str, role: str) -> Predictions:
    """One unit's predictions of one task, as it logged them."""
    table = pd.read_csv(tracking.file_of(run, f"{role}-{task}.csv"))
    columns = [name for name in table.columns if name.startswith("p_")]
    return Predictions(tuple(table["film"]), table["truth"].to_numpy(), table[columns].to_numpy(), table["patient"].to_numpy())
