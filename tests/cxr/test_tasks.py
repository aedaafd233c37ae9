"""Label rules: the paper's equation 4, spreadsheet spellings, and a task as a plain value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr.tasks import PROGNOSIS, SEVERITY, SEVERITY_BOUNDS, TASKS, Task, by_name, severity_category, zone_scores


def test_severity_has_the_bounds_of_equation_4() -> None:
    assert [severity_category(score) for score in range(19)] == [0] * 5 + [1] * 4 + [2] * 5 + [3] * 5
    assert tuple(low for low, _ in SEVERITY.ranges[1:]) == SEVERITY_BOUNDS


def test_with_the_bounds_of_the_authors_code_only_scores_of_9_and_14_get_another_category() -> None:
    differ = {score for score in range(19) if severity_category(score, (5, 10, 15)) != severity_category(score)}
    assert differ == {9, 14}
    assert all(severity_category(score, (5, 10, 15)) == severity_category(score) - 1 for score in differ)


@pytest.mark.parametrize("bounds", [(5, 9), (5, 9, 14, 18), (9, 5, 14), (5, 5, 14), (0, 9, 14), (5, 9, 19), (5.0, 9, 14), "abc"])
def test_bounds_that_leave_a_category_empty_are_refused(bounds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"three rising whole numbers of 1\.\.18"):
        severity_category(7, bounds)


@pytest.mark.parametrize("score", [-1, 19, 100])
def test_a_global_score_that_six_zones_cannot_sum_to_is_refused(score: int) -> None:
    with pytest.raises(ValueError, match=rf"{score} is outside 0\.\.18"):
        severity_category(score)


@given(scores=st.tuples(*[st.integers(0, 3)] * 6), form=st.sampled_from(["{}", "[{}]", " {} "]))
def test_zone_scores_survive_the_brackets_and_lost_zeros_of_spreadsheets(scores: tuple[int, ...], form: str) -> None:
    text = "".join(map(str, scores))
    assert zone_scores(form.format(text)) == scores
    assert zone_scores(form.format(text.lstrip("0") or "0")) == scores
    assert 0 <= severity_category(sum(zone_scores(text))) <= 3


@pytest.mark.parametrize("text", ["0000004", "1234567", "00004", "12a", "-1", "1.0", "nan"])
def test_anything_but_six_digits_of_0_to_3_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="six digits"):
        zone_scores(text)


@pytest.mark.parametrize("task", TASKS.values(), ids=str)
def test_labels_are_found_in_any_case_and_with_blanks_around(task: Task) -> None:
    for i, label in enumerate(task.classes):
        assert task.index(label) == task.index(f" {label.lower()} ") == i
    with pytest.raises(ValueError, match=f"allowed: {', '.join(task.classes)}"):
        task.index("moderate")


def test_severe_is_what_binary_figures_count_as_positive() -> None:
    assert PROGNOSIS.classes[PROGNOSIS.positive or 0] == "SEVERE"
    assert SEVERITY.positive is None


def test_tasks_are_given_by_name_in_the_order_asked_for() -> None:
    assert by_name(["severity", "prognosis"]) == (SEVERITY, PROGNOSIS)
    with pytest.raises(ValueError, match="unknown task 'sex'; known: prognosis, severity, age"):
        by_name(["prognosis", "sex"])


def test_a_class_without_a_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="2 classes and 1 meanings"):
        Task("x", "X", ("a", "b"), ("only one",))
