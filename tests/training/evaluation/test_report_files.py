"""The files beside the page: CSV that depends on predictions and figures alone, Markdown; and what the pictures are made of."""

import csv
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_auc_score

from cxr.tasks import PROGNOSIS, TASKS
from tests.training.evaluation.synthetic_study import predictions, study
from training.evaluation.bootstrap import intervals
from training.evaluation.metrics import evaluate, pooled
from training.evaluation.report.csv_files import DRAWS, write_results, write_units
from training.evaluation.report.drawing import Chart, around, ticks
from training.evaluation.report.survey import Survey
from training.evaluation.report.trust import reliability, roc
from training.evaluation.report.writing import FILES, write_report
from training.evaluation.results import Results

SMALL = study(("resnet18", "resnet34"), {"all": 20}, {"cv": ("cv-0", "cv-1"), "loco": ("loco-A", "loco-B")}, severity_films=24)


def csv_files(results: Results) -> tuple[bytes, bytes]:
    survey = Survey(results)
    with tempfile.TemporaryDirectory() as name:
        write_results(survey, Path(name) / "results.csv")
        write_units(survey, Path(name) / "units.csv")
        return (Path(name) / "results.csv").read_bytes(), (Path(name) / "units.csv").read_bytes()


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(content.decode().splitlines()))


@given(seed=st.integers(0, 2**16))
@settings(max_examples=5, deadline=None)
def test_csv_files_are_equal_byte_for_byte_whatever_the_order_the_runs_and_the_times(seed: int) -> None:
    chance = random.Random(seed)
    units = [replace(u, run_id=str(chance.random()), seconds=chance.random()) for u in SMALL.units]
    chance.shuffle(units)
    assert csv_files(replace(SMALL, units=tuple(units), provenance={"time": str(seed)})) == csv_files(SMALL)


def test_the_reason_of_a_failure_is_in_no_csv_file() -> None:
    failed = (replace(SMALL.units[0], state="quarantined", reason=reason, test=None, figures={}) for reason in ("killed", "hang"))
    first, second = (csv_files(replace(SMALL, units=(unit, *SMALL.units[1:]))) for unit in failed)
    assert first == second
    assert first != csv_files(SMALL)


def test_a_row_of_results_holds_means_over_folds_and_pooled_figures_with_intervals() -> None:
    place = {"experiment": "mdmt", "backbone": "resnet34", "scheme": "loco", "task": "severity"}
    units = [u for u in SMALL.units if all(getattr(u, name) == value for name, value in place.items())]
    row = next(r for r in rows(csv_files(SMALL)[0]) if all(r[name] == value for name, value in place.items()))
    kappas = [u.figures["kappa"] for u in units]
    assert float(row["kappa_mean"]) == pytest.approx(np.mean(kappas), rel=1e-5)
    assert float(row["kappa_sd"]) == pytest.approx(np.std(kappas, ddof=1), rel=1e-5)
    together = pooled([u.test for u in units if u.test is not None])
    assert float(row["pooled_mae"]) == pytest.approx(evaluate(TASKS["severity"], together)["mae"], rel=1e-5)
    ends = intervals(TASKS["severity"], together, draws=DRAWS)["mae"]
    assert [float(row["pooled_mae_low"]), float(row["pooled_mae_high"])] == pytest.approx(ends, rel=1e-5)
    assert (row["folds"], row["missing_folds"], row["films"]) == ("2", "0", "48")
    assert row["weights"] == "scratch"


def test_every_unit_and_group_has_a_row_without_blanks_also_where_nothing_is_finished() -> None:
    nothing = replace(SMALL, units=tuple(replace(u, state="missing", test=None, figures={}) for u in SMALL.units))
    for results in (SMALL, nothing):
        by_group, by_unit = (rows(content) for content in csv_files(results))
        assert (len(by_group), len(by_unit)) == (24, 48)
        assert not [row for row in (*by_group, *by_unit) if not all(row.values())]


def test_repeats_count_as_folds_and_every_film_is_pooled_once() -> None:
    units = (*SMALL.units, *(replace(u, repeat=1) for u in SMALL.units))
    group = next(r for r in rows(csv_files(replace(SMALL, units=units))[0]) if r["task"] == "prognosis")
    assert (group["folds"], group["films"]) == ("4", "40")


def test_the_report_is_four_files_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    pages = [write_report(SMALL, tmp_path / "new" / "folder").read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]
    assert {file.name for file in (tmp_path / "new" / "folder").iterdir()} == set(FILES)


def test_rows_of_markdown_tables_have_as_many_fields_as_their_heads(tmp_path: Path) -> None:
    failed = replace(SMALL.units[0], state="quarantined", reason="a | b\nc", test=None, figures={})
    write_report(replace(SMALL, units=(failed, *SMALL.units[1:])), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    blocks = [block.strip().splitlines() for block in text.split("\n\n") if block.strip().startswith("|")]
    assert len(blocks) > 8
    for block in blocks:
        assert len({line.replace("\\|", "").count("|") for line in block}) == 1
        assert not [field for line in block[2:] for field in line.replace("\\|", "/").split("|")[1:-1] if not field.strip()]
    assert "a \\| b c" in text


@given(low=st.floats(-1e3, 1e3), width=st.floats(1e-3, 1e3))
def test_ticks_are_few_and_within_the_range(low: float, width: float) -> None:
    found = ticks((low, low + width))
    assert 1 <= len(found) <= 6
    assert all(low - 1e-6 * (1 + width) <= value <= low + width + 1e-6 * (1 + width) for value in found)


def test_an_axis_of_shares_is_marked_at_both_ends() -> None:
    assert ticks((0, 1)) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


@given(st.lists(st.floats(-1e6, 1e6), max_size=5))
def test_a_range_around_values_holds_them_and_has_a_width(values: list[float]) -> None:
    low, high = around(values)
    assert low < high
    assert all(low <= value <= high for value in values)


def test_a_chart_without_width_is_refused_and_texts_are_escaped() -> None:
    with pytest.raises(ValueError, match="each must end above its start"):
        Chart("t", "d", (1, 1), (0, 1), ("x", "y"))
    assert "<b>" not in Chart("<b>", '"<b>', (0, 1), (0, 1), ("<b>", "<b>")).markup()


def test_the_drawn_roc_has_the_area_that_is_reported() -> None:
    answers = predictions(np.random.default_rng(3), PROGNOSIS, 300, 0.7, "roc")
    across, up = zip(*roc(answers, 1, most=1000), strict=True)
    assert auc(across, up) == pytest.approx(roc_auc_score(answers.truth, answers.probabilities[:, 1]))
    assert len(roc(answers, 1, most=50)) <= 51
    assert roc(answers, 1, most=50)[-1] == (1, 1)


def test_bins_of_reliability_hold_every_film_once() -> None:
    answers = predictions(np.random.default_rng(3), PROGNOSIS, 300, 0.7, "bins")
    bins = reliability(answers)
    assert sum(films for _, _, films in bins) == 300
    right = (answers.probabilities.argmax(axis=1) == answers.truth).mean()
    assert sum(share * films for _, share, films in bins) / 300 == pytest.approx(right)
