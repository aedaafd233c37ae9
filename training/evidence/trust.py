"""What probabilities are worth, as a table: calibration and conformal sets on test films, mean over folds."""

import numpy as np

from cxr.tasks import Task
from training.evaluation.results import UnitResult
from training.evaluation.table import as_markdown
from training.protocol.study import Study

NOTE = (
    "Means over test folds; temperature and thresholds are from validation films. Sets promise to hold the true class for 90 % of its "
    "films; a class with fewer than 9 validation films is in every set, so its coverage is 100 % and the answer abstains. A dash: "
    "nothing was answered."
)


def trust_table(study: Study, task: Task) -> str:
    """One row per experiment and backbone (first scheme and subset): ECE and Brier before and after the temperature, coverage per class
    of the sets that promise 90 %, share of films with other than one class, accuracy of the rest."""
    groups: dict[tuple[str, str], list[UnitResult]] = {}
    first = (study.recipe.subsets[0].name, study.recipe.schemes[0].kind)
    for unit in study.results().units:
        if unit.task == task.name and (unit.subset, unit.scheme) == first and unit.test is not None:
            groups.setdefault((unit.title, f"{unit.backbone}, {unit.weights}"), []).append(unit)
    coverage = [f"coverage_{name.lower()}" for name in task.classes]
    names = ["ece", "ece_calibrated", "brier", "brier_calibrated", *coverage, "abstained", "acc_answered"]
    rows = [(*key, *(_mean(units, name) for name in names)) for key, units in groups.items()]
    heads = [
        "ECE",
        "calibrated",
        "Brier",
        "calibrated",
        *(f"coverage {name}" for name in task.classes),
        "abstained",
        "ACC if answered",
    ]
    return f"{as_markdown(('experiment', 'backbone', *heads), rows)}\n\n{NOTE}"


def _mean(units: list[UnitResult], name: str) -> str:
    values = [unit.figures[name] for unit in units if name in unit.figures]
    if not values:
        return "–"
    share = name.startswith("coverage") or name in ("abstained", "acc_answered")
    return f"{100 * np.mean(values):.0f} %" if share else f"{np.mean(values):.3f}"
