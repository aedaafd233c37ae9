"""The evidence's table of subgroups is that of the model card."""

from types import SimpleNamespace

import pytest

from tests.training.evaluation.card.facts import facts
from tests.training.protocol.plans import COHORTS
from tests.training.protocol.test_served import GIVEN, RECIPE, RESULTS
from tests.training.protocol.tiny import SMALLEST
from training.evaluation.card import model_card
from training.evaluation.results import Results
from training.evidence.subgroups import subgroups
from training.protocol.recipe import RecipeError
from training.protocol.served import judged_films


def study(results: Results) -> SimpleNamespace:
    return SimpleNamespace(recipe=RECIPE, cohorts=COHORTS, plan=lambda view: GIVEN, results=lambda: results)


def test_the_table_of_a_study_is_the_one_in_the_card_of_its_version() -> None:
    table = subgroups(study(RESULTS), view=None, backbone=SMALLEST)
    assert "| prognosis | centre: A |" in table and "| severity | centre: C |" in table
    assert table in model_card(facts(judged=judged_films(RECIPE, SMALLEST, GIVEN, RESULTS, COHORTS)))


def test_without_a_result_to_pick_a_backbone_from_it_says_so() -> None:
    with pytest.raises(RecipeError, match="no 'mdmt' result on task 'prognosis' to pick from"):
        subgroups(study(Results("tiny", "", "prognosis", ())), view=None)
