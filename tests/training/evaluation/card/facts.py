"""Facts of a version that nobody has trained, and tested films whose figures can be worked out by hand."""

from collections.abc import Sequence

import numpy as np

from cxr.tasks import PROGNOSIS, SEVERITY
from training.evaluation.card import CardFacts, CohortFacts, Judged
from training.evaluation.metrics import Predictions
from training.evaluation.results import UnitResult

FIGURES = {
    "temperature": 1.5, "ece": 0.2, "ece_calibrated": 0.1, "brier": 0.4, "brier_calibrated": 0.3, "coverage_mild": 0.88,
    "coverage_severe": 0.92, "abstained": 0.25, "acc_answered": 0.8,
}  # fmt: skip


def judged(
    truth: Sequence[int], severe: Sequence[float], groups: Sequence[dict[str, str]], patients: Sequence[int] | None = None
) -> Judged:
    """τ1: `severe` is the probability of SEVERE of each film. One fold; calibrated equals as trained."""
    p = np.array(severe)
    digests = tuple(f"digest-{i}" for i in range(len(truth)))
    people = np.arange(len(truth)) if patients is None else np.array(patients)
    predictions = Predictions(digests, np.array(truth), np.stack([1 - p, p], axis=1), people)
    fold = UnitResult(
        experiment="mdmt", title="MDMT", backbone="resnet18", weights="scratch", subset="all", scheme="cv", task="prognosis",
        repeat=0, fold="cv-0", state="finished", test=predictions, figures=FIGURES,
    )  # fmt: skip
    return Judged(PROGNOSIS, (fold,), predictions, predictions, tuple(groups))


def two_centres() -> Judged:
    """20 films of A (all right, two patients each film pair), 12 of B (6 wrong, of them 2 with 95 %), 3 of the tiny C (all wrong)."""
    truth = [0, 1] * 10 + [1] * 12 + [0] * 3
    severe = [0.2, 0.8] * 10 + [0.8] * 6 + [0.4] * 4 + [0.05] * 2 + [0.99] * 3
    groups = [{"centre": "A", "sex": "F"}] * 20 + [{"centre": "B"}] * 12 + [{"centre": "C", "sex": "F"}] * 3
    return judged(truth, severe, groups, [i // 2 for i in range(len(truth))])


def facts(**changes: object) -> CardFacts:
    cohort = CohortFacts(
        name="public", about="Public radiographs of somebody.", generated=False, films=35, patients=18, left_out=4,
        centres={"A": 20, "B": 12, "C": 3}, classes={"prognosis": {"MILD": 13, "SEVERE": 22}}, told={"sex": 23},
    )  # fmt: skip
    told: dict[str, object] = {
        "name": "mdmt-test",
        "tasks": (PROGNOSIS, SEVERITY),
        "recipe": "demo",
        "description": "a few films",
        "recipe_digest": "0123456789abcdef",
        "commit": "fedcba9876543210",
        "backbone": "resnet18 (ImageNet)",
        "size": 128,
        "cut": "cropped to their box",
        "seed": 7,
        "scheme": "cross-validation",
        "patients": 18,
        "films": {"training": 26, "validation": 9},
        "cohorts": (cohort,),
        "temperatures": {"prognosis": 1.234, "severity": 0.9},
        "calibrated_on": {"prognosis": 35, "severity": 30},
        "lines": [("cv", "prognosis", "35", "75.0 ± 7.1", "–", "–", "–")],
        "judged": (two_centres(),),
        "start": "the average of two networks",
        "loss": "cross-entropy",
        "along": (),
        "rivals": 1,
        "picked_by": "auc",
    }
    return CardFacts(**(told | changes))
