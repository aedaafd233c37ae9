"""What a search may change of a recipe, and within which bounds: only settings that act in the experiment that is tuned.

    learning_rate, weight_decay     log scale
    dropout                         of every head
    augmentation                    one factor on the largest strength of every variation; 0 none, 1 the recipe's own, 2 twice as strong
    beta                            where the experiment starts from the average of two backbones
    task_weighting                  where a network learns several tasks

Bounds are widened where the recipe's own value lies outside, so that the recipe itself is always one of the candidates.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, get_args

from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from training.protocol.experiments import Experiment
from training.protocol.recipe import Recipe, Tuned
from training.settings import Augmentation, Training

LEARNING_RATE, WEIGHT_DECAY = (1e-5, 1e-2), (1e-6, 1e-2)
DROPOUT, BETA, FACTOR = (0.0, 0.8), (0.0, 1.0), (0.0, 2.0)
STRENGTHS = ("shift", "zoom", "degrees", "elastic", "contrast", "brightness")
WEIGHTINGS: tuple[str, ...] = get_args(Training.model_fields["task_weighting"].annotation)


class Space:
    """The settings of `experiment` that a search in the fold `place` (subset/fold) varies around what the recipe has there."""

    def __init__(self, recipe: Recipe, place: str, experiment: Experiment) -> None:
        self._before = recipe.tuned.get(place, Tuned(beta=None))
        self._training, self._beta = recipe.training_of(place), recipe.beta_of(place)
        self._experiment = experiment

    @cached_property
    def own(self) -> dict[str, Any]:
        """The recipe's own point. A weight decay of 0, which a log scale does not have, is the lowest there is."""
        own: dict[str, Any] = {
            "learning_rate": self._training.learning_rate,
            "weight_decay": self._training.weight_decay or WEIGHT_DECAY[0],
            "dropout": self._training.dropout,
        }
        augmentation = self._training.augmentation
        if augmentation.probability and any(getattr(augmentation, name) for name in STRENGTHS):
            own["augmentation"] = 1.0
        if len(self._experiment.parents) == 2:
            own["beta"] = self._beta
        if len(self._experiment.tasks) > 1:
            own["task_weighting"] = self._training.task_weighting
        return own

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Setting → where its values come from."""
        known: dict[str, BaseDistribution] = {
            "learning_rate": _between(LEARNING_RATE, self.own["learning_rate"], log=True),
            "weight_decay": _between(WEIGHT_DECAY, self.own["weight_decay"], log=True),
            "dropout": _between(DROPOUT, self.own["dropout"]),
            "augmentation": FloatDistribution(*FACTOR),
            "beta": FloatDistribution(*BETA),
            "task_weighting": CategoricalDistribution(WEIGHTINGS),
        }
        return {name: known[name] for name in self.own}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A point of the space."""
        point: dict[str, Any] = {}
        for name, distribution in self.distributions.items():
            if isinstance(distribution, FloatDistribution):
                point[name] = trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
            else:
                point[name] = trial.suggest_categorical(name, WEIGHTINGS)
        return point

    def tuned(self, point: Mapping[str, Any]) -> Tuned:
        """A point as the recipe holds it: changes to `training`, and `beta`."""
        changes = {name: value for name, value in point.items() if name not in ("augmentation", "beta")}
        if "augmentation" in point:
            changes["augmentation"] = {
                **self._before.training.get("augmentation", {}),
                **_stronger(self._training.augmentation, point["augmentation"]),
            }
        return Tuned(training={**self._before.training, **changes}, beta=point.get("beta", self._before.beta))


def _between(bounds: tuple[float, float], own: float, log: bool = False) -> FloatDistribution:
    return FloatDistribution(min(bounds[0], own), max(bounds[1], own), log=log)


def _stronger(augmentation: Augmentation, factor: float) -> dict[str, float]:
    """Every strength times the factor, no further than its field allows."""
    return {name: min(factor * getattr(augmentation, name), _largest(name)) for name in STRENGTHS}


def _largest(name: str) -> float:
    return next(float(bound.le) for bound in Augmentation.model_fields[name].metadata if hasattr(bound, "le"))
