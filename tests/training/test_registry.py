"""What a version is made of: the figures that speak for it, and a golden film that is nobody's."""

import hashlib

from cxr.reading import read
from tests.training.protocol.tiny import tiny_recipe
from training.evaluation.results import Line
from training.protocol.experiments import Experiment
from training.protocol.recipe import BackboneChoice, Recipe
from training.registry import answered, golden_films, golden_names
from training.version_card import estimates_of

SMALL = BackboneChoice(name="shufflenet_v2_x0_5", weights="scratch")
LITE = BackboneChoice(name="efficientnet_lite0", weights="imagenet")
FRESH = BackboneChoice(name="efficientnet_lite0", weights="scratch")


def recipe(**changes: object) -> Recipe:
    return tiny_recipe(**{"backbones": (SMALL, LITE, FRESH), **changes})


def line(backbone: BackboneChoice, auc: list[float], **changes: object) -> Line:
    where = {"experiment": "mdmt", "title": "MDMT", "subset": "all", "scheme": "cv", "task": "prognosis"} | changes
    return Line(
        backbone=backbone.name,
        weights=backbone.weights,
        folds={"auc": auc, "acc": [1 - a for a in auc]},
        pooled={},
        films=9,
        **where,
    )


def test_a_version_is_described_by_the_figures_of_its_own_start_not_of_the_same_backbone_started_otherwise() -> None:
    own = [line(FRESH, [0.6]), line(FRESH, [0.5], scheme="loco"), line(FRESH, [0.4], task="severity")]
    others = [line(LITE, [0.9]), line(SMALL, [0.7]), line(FRESH, [0.8], experiment="ft"), line(FRESH, [0.3], subset="release-1")]
    assert estimates_of(recipe(), FRESH, [*others, *own]) == own


def test_a_version_is_not_described_by_figures_of_tasks_that_it_does_not_answer() -> None:
    zones = Experiment(name="mdmt", title="MDMT", tasks=("prognosis", "zone-a"), answers=("prognosis",))
    lines = [line(FRESH, [0.6]), line(FRESH, [0.5], task="zone-a")]
    assert estimates_of(recipe(own_experiments=(zones,)), FRESH, lines) == lines[:1]


def test_registering_says_what_is_answered_and_what_was_learned_besides() -> None:
    assert answered(recipe()) == "answers prognosis, severity"
    three = Experiment(name="mdmt-age", title="three", tasks=("prognosis", "severity", "age"))
    besides = "answers prognosis, severity; learned besides and not answered: age (served is what experiment 'mdmt' answers)"
    assert answered(recipe(own_experiments=(three,), experiments=("mdmt", "mdmt-age"))) == besides
    assert answered(recipe(own_experiments=(three.model_copy(update={"name": "mdmt"}),))) == "answers prognosis, severity, age"


def test_the_golden_films_are_generated_all_different_and_always_the_same() -> None:
    films = golden_films()
    digests = [hashlib.sha256(film).digest() for film in films]
    assert digests == [hashlib.sha256(film).digest() for film in golden_films()]
    assert len(set(digests)) == len(golden_names()) >= 3
    assert all(read(film).pixels.ndim == 2 for film in films)
