"""What a person sees: nothing is left out of a table, and a film that was left out is named with its reason."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from services import console as module
from services.console import StudyView, bar, checklist, comparison, phantom_report, plan_report, store_report
from services.tracking.server import NothingTracked, serve_ui, ui_command
from tests.training.protocol.plans import BASE, COHORTS
from tests.training.protocol.tiny import stores_of
from training.data.cohorts.phantom import PhantomReport
from training.evaluation.results import Line
from training.protocol.doctor import Finding
from training.protocol.estimate import Estimate

REPORT = PhantomReport(
    films={"AIforCOVID": 9, "BRIXIA": 3},
    patients={"AIforCOVID": 9, "BRIXIA": 2},
    prognosis={"MILD": 4, "SEVERE": 5},
    prognosis_by_centre={"A": {"MILD": 4, "SEVERE": 2}, "B": {"SEVERE": 3}},
    severity={"0": 1, "2": 2},
    zone_counts={},
    global_score_mean=6.5,
    global_score_sd=2.0,
    bayes_accuracy_population=0.8124,
    bayes_accuracy_expected=0.8,
    bayes_accuracy_realised=0.9,
)


def shown(what: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(what)
    return console.file.getvalue()


def line(experiment: str, task: str) -> Line:
    folds = {name: [0.5, 0.7] for name in ("acc", "f1", "gmean", "auc")}
    return Line(
        experiment=experiment, title=experiment.upper(), backbone="resnet18", weights="scratch", subset="all", scheme="cv", task=task,
        folds=folds, pooled={}, films=42,
    )  # fmt: skip


def test_the_comparison_shows_mean_and_sd_in_percent_of_every_line() -> None:
    text = shown(comparison([line("ft", "prognosis"), line("mdmt", "severity")]))
    assert "FT" in text
    assert "MDMT" in text
    assert text.count("60.0") == 8
    assert "F1: macro for age; AUC: one against rest for age" in shown(comparison([line("mdmt", "age")]))


def test_left_out_films_are_listed_with_their_reason_beside_the_counts() -> None:
    films = stores_of(COHORTS)
    films["brixia"].entries["03-0"] = {"slot": 5, "error": "no-lungs", "message": "No lungs found: found a mask of [0.1%]"}
    text = shown(store_report(COHORTS, films))
    assert "03-0: No lungs found: found a mask of [0.1%]" in text
    assert "both-lungs 41, no-lungs 1" in text
    assert "both-lungs 42" in text


def test_the_phantom_report_shows_counts_and_the_accuracy_nobody_can_exceed() -> None:
    text = shown(phantom_report(REPORT))
    assert all(part in text for part in ("AIforCOVID 9, BRIXIA 3", "MILD 4, SEVERE 5", "0 1, 2 2", "81.2%", "80.0%"))


def test_every_centre_of_the_phantom_report_says_which_count_is_which() -> None:
    assert "A 4/2, B 0/3" in shown(phantom_report(REPORT))


def test_the_checklist_tells_what_to_do_about_what_is_missing_only() -> None:
    text = shown(
        checklist([Finding("torch", True, "2.9", "install it"), Finding("disk", False, "1 GiB free", "free 5 GiB", True)])
    )
    assert "free 5 GiB" in text
    assert "install it" not in text
    assert ("✓" in text, "✗" in text) == (True, True)


def test_progress_counts_units_that_ended_however_they_ended() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    first, second = BASE.units[:2]
    with StudyView(console) as view:
        view.stage("films of brixia", 1, 2)
        view.stage("films of brixia", 2, 2)
        view.units(BASE, 2)
        view.unit_event(first, {"event": "epoch", "epoch": 3})
        view.unit_event(first, {"event": "done"})
        view.unit_event(second, {"event": "failed", "kind": "hang", "reason": "said nothing", "quarantined": False})
        view.unit_event(second, {"event": "tracking-away", "reason": "refused"})
        view.unit_event(second, {"event": "failed", "kind": "hang", "reason": "said nothing", "quarantined": True})
    text = console.file.getvalue()
    assert "films of brixia" in text
    assert text.count("2/2") >= 2
    assert f"{second.title}: hang: said nothing" in text
    assert "the tracking server does not answer (refused)" in text


def test_a_plan_shows_counts_shared_units_hours_and_what_nobody_measured() -> None:
    counts = {("stl-severity", "cv", "release-1"): (5, 5), ("stl-severity", "cv", "release-1+2"): (5, 0)}
    given = Estimate(
        counts, 10, 5, (10.0, 40.0), (2.0, 8.0), ("stl-severity/…", "mdmt/…"), ("resnet18",), ("costs.json",), (16.0, 64.0)
    )
    text = shown(plan_report(given, 2))
    for part in (
        "0, all shared",
        "10",
        "10.0 to 40.0 hours",
        "5.0 to 20.0",
        "2.0 to 8.0 hours",
        "→",
        "resnet18",
        "saves 5 of 10 trainings, 38% of the hours",
    ):
        assert part in text


def test_a_study_with_nothing_to_run_shows_no_bar_of_units() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with StudyView(console) as view:
        view.units(BASE, 0)
    assert "units" not in console.file.getvalue()


def test_a_bar_follows_done_and_total() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with bar(console, "phantom films") as progress:
        progress(3, 7)
    assert "3/7" in console.file.getvalue()


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 3), (60.0, 1)])
def test_where_no_bar_is_seen_to_move_a_line_says_how_far_it_is_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, seconds: float, lines: int
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", seconds)
    for terminal in (False, True):
        console = Console(file=io.StringIO(), width=160, force_terminal=terminal)
        with bar(console, "lung U-Net") as progress:
            for epoch in (1, 2, 3):
                progress(epoch, 40)
        told = [line for line in console.file.getvalue().splitlines() if re.match(r"\d\d:\d\d:\d\d lung U-Net \d/40$", line)]
        assert len(told) == (0 if terminal else lines)


def test_the_mlflow_page_listens_on_loopback_and_shows_the_home_it_is_given(tmp_path: Path) -> None:
    command = ui_command(tmp_path, 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(NothingTracked, match="run a recipe first"):
        serve_ui(tmp_path, 5001)
