"""Results of a study that nobody has run: seeded, of any breadth, with the effects that the tests look for."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from cxr.tasks import PROGNOSIS, TASKS, Task
from training.evaluation.metrics import Predictions, evaluate
from training.evaluation.results import Results, UnitResult

EXPERIMENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "stl-prognosis": ("STL τ1", ("prognosis",)),
    "stl-severity": ("STL τ2", ("severity",)),
    "ft": ("FT τ2→τ1", ("prognosis",)),
    "ft-severity": ("FT τ1→τ2", ("severity",)),
    "mdmt": ("MDMT", ("prognosis", "severity")),
}
SKILL = {"stl-prognosis": 0.8, "ft": 1.0, "mdmt": 1.3, "stl-severity": 1.6, "ft-severity": 1.6}
CALIBRATED = {"temperature": 1.4, "ece_calibrated": 0.05, "abstained": 0.3, "coverage_mild": 0.9}
FOLDS = {"cv": ("cv-0", "cv-1", "cv-2"), "loco": ("loco-A", "loco-B", "loco-C")}


def study(
    backbones: Sequence[str] = ("densenet121", "resnet18", "shufflenet_v2_x0_5"),
    subsets: Mapping[str, int] | None = None,
    folds: Mapping[str, tuple[str, ...]] | None = None,
    severity_films: int = 90,
    epochs: int = 6,
    seed: int = 0,
) -> Results:
    """`subsets`: name → films of τ1 per fold. The last backbone starts from scratch. Every unit is finished."""
    units = []
    for subset, films in (subsets or {"all": 80, "release-1": 50}).items():
        for experiment, (title, tasks) in EXPERIMENTS.items():
            for i, backbone in enumerate(backbones):
                for scheme, names in (folds or FOLDS).items():
                    weights = "scratch" if i == len(backbones) - 1 else "imagenet"
                    for fold in names:
                        run = f"{subset}/{experiment}/{backbone}/{fold}"
                        rng = np.random.default_rng([seed, *hashlib.sha256(run.encode()).digest()[:8]])
                        history = _history(rng, epochs)
                        for task in tasks:
                            n = films if task == PROGNOSIS.name else severity_films
                            test = predictions(rng, TASKS[task], n, SKILL[experiment] + 0.1 * i, f"{subset}{fold}{task}")
                            unit = UnitResult(
                                experiment=experiment, title=title, backbone=backbone, weights=weights, subset=subset, scheme=scheme,
                                repeat=0, fold=fold, task=task, state="finished",
                            )  # fmt: skip
                            figures = evaluate(TASKS[task], test) | CALIBRATED
                            units.append(
                                replace(unit, test=test, figures=figures, history=history, best_epoch=epochs // 2, run_id=run)
                            )
    provenance = {"commit": "0" * 40, "torch": "2.0", "data digest": "ab" * 32}
    return Results("synthetic", "three backbones that never saw a film", "prognosis", tuple(units), provenance)


def predictions(rng: Generator, task: Task, films: int, skill: float, name: str) -> Predictions:
    """Every class occurs; a higher skill is right more often."""
    truth = np.arange(films) % len(task.classes)
    rng.shuffle(truth)
    logits = 2 * rng.normal(size=(films, len(task.classes)))
    logits[np.arange(films), truth] += 2 * skill
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    digests = tuple(hashlib.sha256(f"{name}{i}".encode()).hexdigest() for i in range(films))
    return Predictions(digests, truth, probabilities, np.arange(films))


def _history(rng: Generator, epochs: int) -> tuple[dict[str, float], ...]:
    return tuple(
        {"train_loss": 1 / (e + 1) + 0.1 * rng.random(), "val_loss": 1 / (e + 1) + 0.2 * rng.random()} for e in range(epochs)
    )
