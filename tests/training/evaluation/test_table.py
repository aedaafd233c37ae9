"""The comparison as people read it."""

from dataclasses import replace

import pytest

from training.evaluation.results import Line
from training.evaluation.table import HEADER, legend, markdown, percent, rows

LINE = Line(
    experiment="mdmt",
    title="MDMT",
    backbone="resnet18",
    weights="imagenet",
    subset="all",
    scheme="cv",
    task="prognosis",
    folds={"acc": [0.7, 0.8], "f1": [0.75], "gmean": [0.5, 0.5, 0.5], "auc": []},
    pooled={"acc": 0.75},
    films=120,
)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.7, 0.8], "75.0 ± 7.1"),
        ([0.683], "68.3 ± 0.0"),
        ([], "–"),
        ([1.0, 1.0], "100.0 ± 0.0"),
        ([0.1234, 0.1240], "12.4 ± 0.0"),
    ],
)
def test_figures_are_percent_with_one_decimal_and_the_samples_sd(values: list[float], text: str) -> None:
    assert percent(values) == text


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        (
            ("prognosis", "severity", "prognosis"),
            "F1: of SEVERE for prognosis, macro for severity; AUC: one against rest for severity",
        ),
        (
            ("severity", "age", "prognosis"),
            "F1: of SEVERE for prognosis, macro for severity, age; AUC: one against rest for severity, age",
        ),
        (("prognosis",), "F1: of SEVERE for prognosis"),
        (("age",), "F1: macro for age; AUC: one against rest for age"),
    ],
)
def test_the_legend_says_of_the_tasks_there_are_what_their_f1_and_auc_are_of(tasks: tuple[str, ...], text: str) -> None:
    assert legend([replace(LINE, task=task) for task in tasks]) == text


def test_a_line_has_one_cell_for_each_heading_in_its_order() -> None:
    assert [dict(zip(HEADER, row, strict=True)) for row in rows([LINE])] == [
        {
            "experiment": "MDMT",
            "backbone": "resnet18",
            "start": "imagenet",
            "scheme": "cv",
            "task": "prognosis",
            "films": "120",
            "ACC": "75.0 ± 7.1",
            "F1": "75.0 ± 0.0",
            "G-mean": "50.0 ± 0.0",
            "AUC": "–",
            "pooled ACC": "75.0",
            "pooled AUC": "–",
        }
    ]


def test_a_line_says_which_part_of_the_data_it_is_about_and_how_many_folds_are_missing() -> None:
    cell = HEADER.index("scheme")
    assert [rows([replace(LINE, **change)])[0][cell] for change in ({}, {"subset": "release-1"}, {"missing": 2})] == [
        "cv",
        "cv, release-1",
        "cv, 2 folds missing",
    ]


def test_the_table_is_markdown_with_equal_columns_also_without_lines() -> None:
    for lines in ([], [LINE], [LINE, LINE]):
        text = markdown(lines)
        assert len(text.splitlines()) == 2 + len(lines) and text.endswith("\n")
        assert {line.count("|") for line in text.splitlines()} == {len(HEADER) + 1}
