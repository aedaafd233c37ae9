"""What probabilities are worth, as a table: calibration and conformal sets on test films, mean over folds."""

from collections.abc import Mapping, Sequence

import numpy as np

from cxr.tasks import Task
from training.evaluation.card import Judged
from training.evaluation.card.out_of_fold import as_served
from training.evaluation.results import UnitResult
from training.evaluation.table import as_markdown
from training.protocol.study import Study

NOTE = (
    "Means over test folds; temperature and thresholds are from validation films. Sets promise to hold the true class for 90 % of its "
    "films; a class with fewer than 9 validation films is in every set, so its coverage is 100 % and the answer abstains. A dash: "
    "nothing was answered."
)
AS_SERVED = "as it is registered"
NOTE_SERVED = (
    " As it is registered: temperature and limits of a fold's films are from the films that the other folds tested, and figures from all "
    "films together; the ECE of fewer films, as a fold has, is larger by chance. The network that is registered is trained on all films, "
    "and is calibrated by what the folds said to them."
)


def trust_table(study: Study, task: Task, served: Judged | None = None) -> str:
    """One row per experiment and backbone (first scheme and subset): ECE and Brier before and after the temperature, coverage per class
    of the sets that promise 90 %, share of films with other than one class, accuracy of the rest. With `served`, the films that the folds
    of what is registered have tested, a further row says what its own calibration is worth."""
    groups: dict[tuple[str, str], list[UnitResult]] = {}
    first = (study.recipe.subsets[0].name, study.recipe.schemes[0].kind)
    for unit in study.results().units:
        if unit.task == task.name and (unit.subset, unit.scheme) == first and unit.test is not None:
            groups.setdefault((unit.title, f"{unit.backbone}, {unit.weights}"), []).append(unit)
    coverage = [f"coverage_{name.lower()}" for name in task.classes]
    names = ["ece", "ece_calibrated", "brier", "brier_calibrated", *coverage, "abstained", "acc_answered"]
    rows = [(*key, *(_mean([unit.figures for unit in units], name) for name in names)) for key, units in groups.items()]
    if served is not None:
        figures = as_served(served)
        rows.append((AS_SERVED, served.folds[0].backbone, *(_mean([figures], name) for name in names)))
    heads = [
        "ECE",
        "calibrated",
        "Brier",
        "calibrated",
        *(f"coverage {name}" for name in task.classes),
        "abstained",
        "ACC if answered",
    ]
    return f"{as_markdown(('experiment', 'backbone', *heads), rows)}\n\n{NOTE}{NOTE_SERVED if served else ''}"


def _mean(measured: Sequence[Mapping[str, float]], name: str) -> str:
    values = [figures[name] for figures in measured if name in figures]
    if not values:
        return "–"
    share = name.startswith("coverage") or name in ("abstained", "acc_answered")
    return f"{100 * np.mean(values):.0f} %" if share else f"{np.mean(values):.3f}"
