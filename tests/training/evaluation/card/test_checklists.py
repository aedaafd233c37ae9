"""TRIPOD+AI and CLAIM: every item is there once and has an answer, from facts or with a reason why not."""

import re
from dataclasses import replace

import pytest
from jinja2 import UndefinedError

from tests.training.evaluation.card.facts import facts
from training.evaluation.card.checklists import NOT_DONE, Checklist, Item, checklists

TRIPOD, CLAIM = checklists()
PARTS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab", 27: "abc"}
both = pytest.mark.parametrize("checklist", [TRIPOD, CLAIM], ids=["TRIPOD+AI", "CLAIM"])


def test_the_27_items_of_tripod_ai_are_there_with_their_parts() -> None:
    assert [item.number for item in TRIPOD.items] == [f"{n}{part}" for n in range(1, 28) for part in PARTS.get(n, [""])]


def test_the_44_items_of_claim_are_there() -> None:
    assert [item.number for item in CLAIM.items] == [str(n) for n in range(1, 45)]


@both
@pytest.mark.parametrize("generated", [True, False])
def test_every_item_is_answered_or_says_why_not(checklist: Checklist, generated: bool) -> None:
    (cohort,) = facts().cohorts
    for number, asks, answer in checklist.answered(facts(cohorts=(replace(cohort, generated=generated),))):
        assert len(asks) > 5, number
        assert len(answer) > 8 and answer.endswith((".", '".')), number
        assert not re.search(r"[{}|]|\bNone\b,|not done", answer.removeprefix(NOT_DONE)), number
        assert not answer.startswith("Not done") or len(answer) > len(NOT_DONE) + 10, number


@both
def test_the_table_counts_its_answers(checklist: Checklist) -> None:
    table = checklist.markdown(facts())
    missing = sum(answer.startswith(NOT_DONE) for _, _, answer in checklist.answered(facts()))
    assert 0 < missing < len(checklist.items) / 2
    assert f"{len(checklist.items) - missing} of {len(checklist.items)} items are answered" in table
    assert table.count(f"| {NOT_DONE}") == missing


def test_answers_are_of_the_version() -> None:
    def answer(number: str, checklist: Checklist = TRIPOD, **changes: object) -> str:
        return {n: text for n, _, text in checklist.answered(facts(**changes))}[number]

    assert "18 patients, 35 films" in answer("10") and "21 patients" in answer("10", patients=21)
    assert "1 folds" in answer("32", CLAIM)
    loco = [("loco", "prognosis", "9", *["–"] * 4)]
    assert answer("33", CLAIM).startswith(NOT_DONE) and "Centres left out whole" in answer("33", CLAIM, lines=loco)


def test_a_fact_that_there_is_not_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        Checklist("t", "s", (Item("1", "asks", "{{ facts.colour }}"),)).answered(facts())
