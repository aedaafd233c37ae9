"""Figures by subgroup and failures as counts, against figures worked out by hand."""

from tests.training.evaluation.card.facts import judged, two_centres
from training.evaluation.bootstrap import intervals
from training.evaluation.card.failures import confusion_table, errors_by_confidence
from training.evaluation.card.judged import NOT_STATED, part
from training.evaluation.card.subgroups import subgroup_rows, subgroup_table


def rows() -> dict[str, tuple[str, ...]]:
    return {row[1]: row for row in subgroup_rows(two_centres(), draws=200)}


def test_every_group_has_its_films_patients_accuracy_and_auc_where_both_classes_occur() -> None:
    found = rows()
    assert list(found) == ["all films", "centre: A", "centre: B", "centre: C", "sex: F", f"sex: {NOT_STATED}"]
    assert found["centre: A"][2:] == ("20", "10", "100.0 (100.0 to 100.0)", "100.0 (100.0 to 100.0)")
    assert found["centre: B"][2:4] == ("12", "6")
    assert found["centre: B"][4].startswith("50.0 (") and found["centre: B"][5] == "one class only"
    assert found["all films"][4].startswith("74.3 (")  # 26 of 35


def test_a_group_of_fewer_than_ten_films_is_named_and_has_no_figures() -> None:
    assert rows()["centre: C"][2:] == ("3", "2", "too few", "too few")


def test_the_interval_is_the_bootstrap_over_the_patients_of_the_group() -> None:
    whole = two_centres()
    (films,) = [films for _, group, films in whole.subgroups() if group == "B"]
    low, high = intervals(whole.task, part(whole.predictions, films), 200)["acc"]
    assert low < 0.5 < high
    assert rows()["centre: B"][4] == f"50.0 ({100 * low:.1f} to {100 * high:.1f})"


def test_ages_stand_in_their_order_and_what_is_not_stated_last() -> None:
    bands = ["80-and-over", "under-50", "65-79", "50-64"]
    groups = [{"centre": "A", "age group": band} for band in bands] + [{"centre": "A"}]
    names = [row[1] for row in subgroup_rows(judged([0, 1, 0, 1, 0], [0.5] * 5, groups)) if row[1].startswith("age")]
    assert names == [f"age group: {name}" for name in ("under-50", "50-64", "65-79", "80-and-over", NOT_STATED)]


def test_the_table_is_markdown_and_says_what_its_figures_are() -> None:
    table, note = subgroup_table([two_centres()], draws=20).split("\n\n")
    assert {line.count("|") for line in table.splitlines()} == {7}
    assert "had not seen its patient" in note


def test_the_confusion_counts_every_film_once() -> None:
    lines = confusion_table(two_centres()).splitlines()
    assert lines[2:] == ["| MILD | 10 | 3 | 13 |", "| SEVERE | 6 | 16 | 22 |"]


def test_errors_are_counted_by_subgroup_and_confidence_and_small_groups_are_not_shown() -> None:
    table = errors_by_confidence([two_centres()])
    for row in (
        "| prognosis | all films | 9 of 35 | 0 of 0 | 4 of 4 | 0 of 26 | 5 of 5 |",
        "| prognosis | centre: B | 6 of 12 | 0 of 0 | 4 of 4 | 0 of 6 | 2 of 2 |",
        "| prognosis | centre: C | too few | too few | too few | too few | too few |",
    ):
        assert row in table
