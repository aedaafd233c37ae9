"""What a search may change: only what acts in the experiment, within the bounds of the fields, and the recipe itself is a candidate."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.protocol.tiny import tiny_recipe
from training.protocol.experiments import EXPERIMENTS, Experiment
from training.protocol.recipe import Recipe, Tuned
from training.protocol.tuning_space import STRENGTHS, Space
from training.settings import Augmentation, Training

PLACE = "all/cv-0"
MDMT = EXPERIMENTS["mdmt"]


def with_training(**changes: object) -> Recipe:
    return tiny_recipe(training=Training(**changes).model_dump())


def tuned_training(recipe: Recipe, tuned: Tuned) -> Training:
    return recipe.model_copy(update={"tuned": {PLACE: tuned}}).training_of(PLACE)


@pytest.mark.parametrize(
    ("experiment", "recipe", "absent"),
    [
        (MDMT, tiny_recipe(), set()),
        (EXPERIMENTS["ft"], tiny_recipe(), {"beta", "task_weighting"}),
        (Experiment(name="three", title="", tasks=("prognosis", "age"), parents=("a", "b", "c")), tiny_recipe(), {"beta"}),
        (MDMT, with_training(augmentation=Augmentation(probability=0)), {"augmentation"}),
        (MDMT, with_training(augmentation=Augmentation(**dict.fromkeys(STRENGTHS, 0.0))), {"augmentation"}),
    ],
)
def test_only_settings_that_act_in_the_experiment_are_varied(experiment: Experiment, recipe: Recipe, absent: set[str]) -> None:
    every = {"learning_rate", "weight_decay", "dropout", "augmentation", "beta", "task_weighting"}
    assert Space(recipe, PLACE, experiment).distributions.keys() == every - absent


@pytest.mark.parametrize("values", [{}, {"learning_rate": 0.3, "weight_decay": 0.1, "dropout": 0.95}, {"learning_rate": 1e-8}])
def test_the_recipes_own_settings_are_a_point_of_the_space_and_change_nothing(values: dict[str, float]) -> None:
    recipe = with_training(**values)
    space = Space(recipe, PLACE, MDMT)
    for name, distribution in space.distributions.items():
        assert distribution._contains(distribution.to_internal_repr(space.own[name]))
    tuned = space.tuned(space.own)
    assert tuned_training(recipe, tuned) == recipe.training and tuned.beta == recipe.beta


def test_no_weight_decay_is_tried_as_the_lowest_there_is() -> None:
    assert Space(with_training(weight_decay=0), PLACE, MDMT).own["weight_decay"] == 1e-6


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), strength=st.floats(0, 1))
def test_every_point_is_a_valid_recipe_with_no_strength_beyond_its_field(seed: int, strength: float) -> None:
    fields = Augmentation.model_fields
    largest = {name: next(m.le for m in fields[name].metadata if hasattr(m, "le")) for name in STRENGTHS}
    recipe = with_training(augmentation=Augmentation(**{name: strength * bound for name, bound in largest.items()}))
    space = Space(recipe, PLACE, MDMT)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    point = space.suggest(study.ask())
    assert point.keys() == space.distributions.keys()
    training = tuned_training(recipe, space.tuned(point))
    assert training.learning_rate == point["learning_rate"] and training.task_weighting == point["task_weighting"]
    for name, bound in largest.items() if "augmentation" in point else ():
        own = getattr(recipe.training.augmentation, name)
        assert getattr(training.augmentation, name) == min(point["augmentation"] * own, bound)
    assert training.augmentation.probability == recipe.training.augmentation.probability
    assert training.batch_size == recipe.training.batch_size


def test_what_a_fold_was_given_before_is_kept_and_varied_from() -> None:
    before = Tuned(training={"batch_size": 8, "dropout": 0.2, "augmentation": {"flip": False, "shift": 0.2}}, beta=0.25)
    space = Space(tiny_recipe(tuned={PLACE: before.model_dump()}), PLACE, MDMT)
    assert (space.own["dropout"], space.own["beta"]) == (0.2, 0.25)
    training = tuned_training(tiny_recipe(), space.tuned({**space.own, "dropout": 0.4, "augmentation": 0.5}))
    assert (training.batch_size, training.dropout) == (8, 0.4)
    assert (training.augmentation.flip, training.augmentation.shift) == (False, 0.1)
