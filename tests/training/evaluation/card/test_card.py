"""The card that travels with a version: what a person must find in it, and what nobody may."""

from dataclasses import replace

import numpy as np
import pytest
from jinja2 import UndefinedError

from cxr.tasks import PROGNOSIS, SEVERITY
from tests.training.evaluation.card.facts import facts
from training.evaluation.card import NOTICE, judged, model_card
from training.evaluation.card.out_of_fold import as_served
from training.protocol.recipe import SERVED, load_recipe
from training.version_card import cut_of, loss_of

SECTIONS = (
    "What it answers", "Intended use", "Data", "How it was made", "Honest estimate", "Subgroups", "Calibration", "Failure cases",
    "Limits", "TRIPOD+AI checklist", "CLAIM checklist",
)  # fmt: skip


def test_the_card_says_first_that_it_is_no_medical_device() -> None:
    heading, _, notice = model_card(facts()).splitlines()[:3]
    assert heading == "# mdmt-test" and NOTICE in notice and "Not for diagnosis" in notice


def test_the_card_has_every_section_once_and_in_order() -> None:
    assert [line[3:] for line in model_card(facts()).splitlines() if line.startswith("## ")] == list(SECTIONS)


def test_the_card_says_what_was_minimised_from_where_and_what_was_only_learnt_along() -> None:
    plain = model_card(facts())
    assert (
        "one head per task, cross-entropy,\n  started from the average of two networks.\n" in plain
        and "Learnt along" not in plain
    )
    told = model_card(facts(along=("Brixia score of zone A", "Brixia score of zone B")))
    assert "- Learnt along, and not answered: Brixia score of zone A; Brixia score of zone B.\n- Films:" in told


def test_the_card_says_what_of_a_film_the_network_is_shown() -> None:
    assert "- Films: lungs found by a U-Net, cropped to their box; 128 × 128 pixels, 8 bits." in model_card(facts())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("demo", "cropped to their box"),
        ("demo+lungs", "cropped to their box, all else in it blackened, heads given the mean over the lungs alone"),
        (
            "real-severity+close",
            "cropped to their box, all else in it blackened, each of the six zones then looked at alone and close up, heads given means "
            "over their lungs alone",
        ),
    ],
)
def test_what_is_shown_follows_from_the_recipe(name: str, said: str) -> None:
    recipe = load_recipe(name)
    assert cut_of(recipe.pipeline.crop, recipe.training.pooling) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("demo", "indicator-masked cross-entropy"),
        ("real", "indicator-masked cross-entropy (severity: ranked probability score), weights averaged over the last steps"),
    ],
)
def test_what_it_was_trained_by_follows_from_the_recipe(name: str, said: str) -> None:
    recipe = load_recipe(name)
    assert loss_of(recipe.answers, recipe.training_of("", SERVED)) == said


def test_the_card_names_tasks_classes_data_calibration_and_origin() -> None:
    text = model_card(facts())
    for part in (
        f"- {PROGNOSIS.title}: MILD ({PROGNOSIS.meaning[0]}), SEVERE (",
        f"- {SEVERITY.title}: 0 (",
        "- **public**: Public radiographs of somebody. 35 films of 18 patients, 4 further films left out",
        "Centres (films): A 20, B 12, C 3.",
        "Classes of prognosis (films): MILD 13, SEVERE 22.",
        "Told by the tables (films): sex 23.",
        "prognosis T = 1.23 from 35 films, severity T = 0.90 from 30 films, each answered\nby the fold's network that had not seen",
        "recipe `demo` (a few films; digest 0123456789ab); code fedcba987654; seed 7.",
        "26 films for training, 9 films for validation.",
        "| cv | prognosis | 35 | 75.0 ± 7.1 | – | – | – |\n",
        "No data set tells age group, view, phase, so",
    ):
        assert part in text


def test_calibration_shows_errors_before_and_after_coverage_of_every_class_and_abstention() -> None:
    cells = ("0.200 ± 0.000", "0.100 ± 0.000", "0.400 ± 0.000", "0.300 ± 0.000",
             "MILD 88.0 % ± 0.0, SEVERE 92.0 % ± 0.0", "25.0 % ± 0.0", "80.0 % ± 0.0")  # fmt: skip
    assert f"| prognosis | 35 | validation, 1 folds | {' | '.join(cells)} |" in model_card(facts())


def test_calibration_shows_what_the_served_one_is_worth_on_films_that_did_not_fit_it() -> None:
    (one,) = facts().judged
    halves = (np.arange(0, len(one.predictions), 2), np.arange(1, len(one.predictions), 2))
    folds = tuple(replace(one.folds[0], test=judged.part(one.predictions, half)) for half in halves)
    whole = judged.part(one.predictions, np.concatenate(halves))
    two = replace(one, folds=folds, predictions=replace(whole, patients=None))
    (row,) = [line for line in model_card(facts(judged=(two,))).splitlines() if "| the other folds |" in line]
    shown = as_served(two)
    assert f"| {shown['ece_calibrated']:.3f} |" in row and f"SEVERE {100 * shown['coverage_severe']:.1f} %" in row


def test_what_no_fold_measured_is_told_and_not_made_up() -> None:
    (one,) = facts().judged
    silent = replace(one, folds=(replace(one.folds[0], figures={}),))
    rows = [line for line in model_card(facts(judged=(silent,))).splitlines() if line.startswith("| prognosis | 35 | ")]
    assert [row.count("not measured") for row in rows] == [8, 8]  # of its own films; and a single fold has no others


def test_a_version_of_phantoms_says_so_and_one_of_real_films_does_not() -> None:
    (cohort,) = facts().cohorts
    drawn = model_card(facts(cohorts=(replace(cohort, generated=True),)))
    assert "generated films (phantoms) only" in drawn.splitlines()[4]
    assert "no person's film was used" in drawn
    assert "phantom" not in model_card(facts()).lower()


def test_no_film_and_no_patient_is_in_the_card() -> None:
    assert "digest-" not in model_card(facts())


def test_without_test_films_the_card_says_that_there_are_no_figures() -> None:
    assert "No fold of the served experiment has test films" in model_card(facts(judged=()))


def test_a_card_with_something_left_out_is_not_written() -> None:
    with pytest.raises(UndefinedError):
        model_card(facts(tasks=(object(),)))
