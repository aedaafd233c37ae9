"""What a study has produced, as values: the report, the statistics and the tables are made of these and of nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from training.evaluation.metrics import Predictions


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What was trained, on which films (`subset`: "all", or a release such as "release-1") divided how (`scheme`: "cv" or "loco"), and
    the task that is looked at."""

    experiment: str
    title: str
    backbone: str
    weights: str
    subset: str
    scheme: str
    task: str


@dataclass(frozen=True, kw_only=True)
class UnitResult(Setting):
    """One task of one unit. A unit of two tasks gives two of these.

    `fold` is "cv-0" or "loco-A", `repeat` counts repetitions of the scheme with other seeds. `figures` holds the test metrics without
    prefix ("acc", "f1", "gmean", "auc", "brier", "ece", for ordinal tasks "kappa" and "mae", calibrated ones "ece_calibrated", …);
    `history` one row per epoch ("train_loss", "val_loss", …). A unit that is not finished has `state` "quarantined" (with the reason)
    or "missing", and no test predictions.
    """

    repeat: int
    fold: str
    state: Literal["finished", "quarantined", "missing"]
    reason: str = ""
    test: Predictions | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    best_epoch: int = 0
    run_id: str = ""
    seconds: float = 0.0

    def answers(self, scaled: bool = False) -> Predictions:
        """The test predictions; `scaled` by the temperature that the fold's validation films gave. Raises ValueError without any."""
        if self.test is None or (scaled and "temperature" not in self.figures):
            lack = "temperature" if self.test else "test predictions"
            raise ValueError(f"{self.experiment}/{self.fold} ({self.state}) has no {lack} of {self.task!r}")
        if not scaled:
            return self.test
        powers = self.test.probabilities.clip(1e-12) ** (1 / self.figures["temperature"])
        return Predictions(self.test.films, self.test.truth, powers / powers.sum(axis=1, keepdims=True), self.test.patients)


@dataclass(frozen=True, kw_only=True)
class Line(Setting):
    """A group of folds: `folds[metric]` holds a value per fold, `pooled[metric]` one over all test films at once; `missing` folds have
    no result."""

    folds: Mapping[str, list[float]]
    pooled: Mapping[str, float]
    films: int
    missing: int = 0


@dataclass(frozen=True)
class Results:
    """Everything a report shows. `provenance` is text for a reader: commit, versions, digests, times."""

    recipe: str
    description: str
    headline: str
    units: tuple[UnitResult, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)
