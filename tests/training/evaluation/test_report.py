"""The page and its tables: the numbers are the right ones, no field is blank, and what is not there is said."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from cxr.tasks import PROGNOSIS
from tests.training.evaluation.synthetic_study import study
from training.evaluation.bootstrap import intervals
from training.evaluation.metrics import evaluate
from training.evaluation.report import ReportError, published, write_report
from training.evaluation.report.layout import Cell, Table
from training.evaluation.report.survey import Survey
from training.evaluation.results import Results, UnitResult

REASON = "out of memory | <b>3 of 3</b> attempts:\nkilled"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The tables of a page by caption, as rows of texts with the head first; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[tuple[str, list[list[str]]]] = []
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.pictures: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.addresses += [given[name] for name in ("href", "src", "xlink:href") if name in given]
        self.anchors.add(given.get("id", ""))
        if tag == "svg":
            self.pictures.append(given["aria-label"])
        if tag == "table":
            self.tables.append(("", []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][1][-1][-1] += data
        elif self.open and self.open[-1] == "caption":
            self.tables[-1] = (self.tables[-1][0] + data, self.tables[-1][1])

    def rows(self, caption: str, place: int = 0) -> list[list[str]]:
        """Body and head rows of the `place`-th table of that caption."""
        return [rows for title, rows in self.tables if title == caption][place]


def without(results: Results, state: str, reason: str, chosen: Callable[[UnitResult], bool]) -> Results:
    def changed(unit: UnitResult) -> UnitResult:
        return replace(unit, state=state, reason=reason, test=None, figures={}, history=(), best_epoch=0)

    return replace(results, units=tuple(changed(u) if chosen(u) else u for u in results.units))


def written(results: Results, folder: Path) -> Page:
    return Page(write_report(results, folder).read_text(encoding="utf-8"))


@cache
def whole() -> Results:
    return study()


@cache
def damaged() -> Results:
    results = without(
        whole(), "quarantined", REASON,
        lambda u: (u.experiment, u.backbone, u.subset, u.fold) == ("ft", "resnet18", "all", "cv-1"),
    )  # fmt: skip
    return without(
        results,
        "missing",
        "",
        lambda u: (u.experiment, u.backbone, u.subset, u.scheme) == ("mdmt", "resnet18", "release-1", "loco"),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return written(whole(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return written(damaged(), tmp_path_factory.mktemp("report"))


def by_hand(experiment: str, subset: str, scheme: str, backbones: tuple[str, ...]) -> list[str]:
    """ACC, F1 and G-mean in percent from the labels themselves, by other means than the report's."""
    means = []
    for backbone in backbones:
        folds = []
        for unit in whole().units:
            place = (unit.experiment, unit.subset, unit.scheme, unit.backbone, unit.task)
            if place == (experiment, subset, scheme, backbone, "prognosis") and unit.test is not None:
                truth, answer = unit.test.truth, unit.test.probabilities.argmax(axis=1)
                recalls = recall_score(truth, answer, average=None)
                folds.append((accuracy_score(truth, answer), f1_score(truth, answer), np.sqrt(recalls[0] * recalls[1])))
        means.append(np.mean(folds, axis=0))
    return [f"{100 * value:.1f}" for value in np.mean(means, axis=0)]


BACKBONES = ("densenet121", "resnet18", "shufflenet_v2_x0_5")


def test_table_1_holds_the_means_of_the_labels_themselves_beside_the_papers(page: Page) -> None:
    rows = page.rows("Films: all (paper: AIforCOVID releases 1+2+3)")
    for title, experiment in (("STL τ1", "stl-prognosis"), ("FT τ2→τ1", "ft"), ("MDMT", "mdmt")):
        ours, paper = [row[2:] for row in rows if row[0] == title]
        assert ours == [text for scheme in ("cv", "loco") for text in by_hand(experiment, "all", scheme, BACKBONES)]
        assert paper == [f"{value:.1f}" for scheme in ("cv", "loco") for value in published.TABLE_1[experiment][scheme]]
    gains = next(row[2:] for row in rows if row[:2] == ["MDMT − STL τ1", "paper"])
    assert gains == ["+2.6", "+2.7", "+2.6", "+4.5", "+7.0", "+5.9"]


def test_further_subsets_have_a_block_of_their_own_without_the_paper(page: Page) -> None:
    rows = page.rows("Films: release-1")
    assert {row[1] for row in rows[2:]} == {"this study"}
    assert next(row[2:5] for row in rows if row[0] == "MDMT") == by_hand("mdmt", "release-1", "cv", BACKBONES)


def test_a_backbone_without_all_folds_of_all_methods_is_in_no_mean_and_the_note_says_why(holed: Page) -> None:
    rows = holed.rows("Films: all (paper: AIforCOVID releases 1+2+3)")
    ours = next(row[2:] for row in rows if row[:2] == ["MDMT", "this study"])
    assert ours[:3] == by_hand("mdmt", "all", "cv", ("densenet121", "shufflenet_v2_x0_5"))
    assert ours[3:] == by_hand("mdmt", "all", "loco", BACKBONES)
    assert "resnet18 (FT τ2→τ1: 1 quarantined of 3 folds)" in holed.text


def test_two_backbones_get_no_stars_but_are_called_too_few(page: Page, holed: Page) -> None:
    ours = next(row for row in holed.rows("Films: all") if row[:3] == ["μ", "MDMT vs STL τ1", "this study"])
    assert ours[3:6] == ["n too small"] * 3
    assert set(ours[6:]) <= {"n.s.", "*", "**", "***"}
    assert "n too small" not in page.text


def test_the_papers_stars_stand_below_ours(page: Page) -> None:
    rows = [row for row in page.rows("Films: all") if row[2:3] == ["paper"]]
    assert [row[3:] for row in rows] == [
        ["***"] * 6,
        ["**", "***", "**", *["no star"] * 3],
        ["*", "*", "*", "*", "no star", "*"],
        [*["no star"] * 3, "*", "no star", "*"],
    ]


def test_table_s1_gives_mean_and_sd_marks_scratch_and_counts_folds_that_are_there(page: Page, holed: Page) -> None:
    units = [u for u in whole().units if (u.experiment, u.backbone, u.subset, u.scheme) == ("ft", "resnet18", "all", "cv")]
    values = [u.figures["acc"] for u in units]
    row = ["resnet18", "FT τ2→τ1", f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"]
    assert row in [r[:3] for r in page.rows("prognosis, films: all")]
    kept = [values[0], values[2]]
    row[2] = f"{100 * np.mean(kept):.1f} ± {100 * np.std(kept, ddof=1):.1f} (2/3)"
    assert row in [r[:3] for r in holed.rows("prognosis, films: all")]
    assert "shufflenet_v2_x0_5 (scratch)" in {r[0] for r in page.rows("prognosis, films: all")}
    gone = next(r for r in holed.rows("prognosis, films: release-1") if r[:2] == ["resnet18", "MDMT"])
    assert gone[6:] == ["missing: 3 missing of 3 folds"] * 4


def test_the_centre_table_has_the_films_and_the_interval_of_the_best_backbone(page: Page) -> None:
    survey = Survey(whole())
    unit = next(
        u for u in whole().units
        if (u.experiment, u.subset, u.fold, u.task) == ("mdmt", "all", "loco-B", "prognosis") and u.backbone in str(survey.best)
    )  # fmt: skip
    assert unit.test is not None
    low, high = intervals(PROGNOSIS, unit.test)["acc"]
    value = evaluate(PROGNOSIS, unit.test)["acc"]
    row = next(r for r in page.rows("prognosis, films: all", place=1) if r[:2] == ["B", "MDMT"])
    assert row[2:4] == ["80", "3/3"]
    assert row[10] == f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def test_what_failed_and_what_is_missing_is_listed_with_its_reason_as_text(holed: Page, page: Page) -> None:
    assert holed.rows("Units without a result")[1:] == [
        ["missing", "MDMT", "resnet18", "release-1", "LOCO", "loco-A, loco-B, loco-C", "not run yet, or its run is not finished"],
        ["quarantined", "FT τ2→τ1", "resnet18", "all", "CV", "cv-1", "out of memory | <b>3 of 3</b> attempts: killed"],
    ]
    assert "Every unit is finished." in page.text
    states = holed.rows("Units of work: one training of one network on one fold")[-1]
    assert states == ["all", "176", "1", "3"]
    assert "The finished units are 176 distinct trainings" in holed.text


def test_no_field_of_any_table_is_blank(page: Page, holed: Page) -> None:
    for tables in (page.tables, holed.tables):
        assert tables
        bodies = [row for _, rows in tables for row in rows if "CV" not in row and "all" not in row]  # a row of group titles
        assert not [row for row in bodies if not all(text.strip() for text in row)]
        assert not [row for row in bodies if {"nan", "None", "inf"} & set(row)]


def test_the_page_needs_no_network_and_no_script_and_every_link_leads_somewhere(holed: Page, tmp_path: Path) -> None:
    assert all(address.startswith("#") and address[1:] in holed.anchors for address in holed.addresses)
    html = write_report(whole(), tmp_path).read_text(encoding="utf-8")
    assert not re.search(r"<script|@import|url\(|<link", html)


def test_the_pictures_are_there_and_say_what_they_show(page: Page) -> None:
    kinds = (
        "MDMT is higher on",
        "training and validation loss of 3 folds",
        "ROC of STL τ1, FT τ2→τ1, MDMT",
        "Reliability of MDMT",
    )
    assert [sum(kind in says for says in page.pictures) for kind in kinds] == [4, 5, 2, 2]


def test_the_start_of_every_backbone_is_told(page: Page) -> None:
    assert "2 started from ImageNet weights: densenet121, resnet18" in page.text
    assert "1 started from scratch (random weights), marked “(scratch)” in every table: shufflenet_v2_x0_5" in page.text
    assert "Research use only, not a medical device." in page.text


def test_a_study_of_which_nothing_is_finished_still_gives_a_report(tmp_path: Path) -> None:
    page = written(without(study(("resnet18",)), "missing", "", lambda _: True), tmp_path)
    rows = page.rows("Films: all (paper: AIforCOVID releases 1+2+3)")
    assert next(row[2:] for row in rows if row[:2] == ["MDMT", "this study"]) == ["missing"] * 6
    assert not page.pictures


def test_an_experiment_that_is_no_part_of_the_study_is_called_so(tmp_path: Path) -> None:
    results = study()
    page = written(replace(results, units=tuple(u for u in results.units if u.experiment != "ft")), tmp_path)
    rows = page.rows("Films: all (paper: AIforCOVID releases 1+2+3)")
    assert ["ft", "this study", *["not in this study"] * 6] in rows


def test_a_study_of_cross_validation_alone_gives_a_report_without_centres(tmp_path: Path) -> None:
    page = written(study(folds={"cv": ("cv-0", "cv-1")}), tmp_path)
    assert "This study leaves no centre out." in page.text


def test_text_of_the_recipe_cannot_become_markup(tmp_path: Path) -> None:
    page = written(replace(whole(), description="a <script>alert(1)</script> & more"), tmp_path)
    assert "a <script>alert(1)</script> & more" in page.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: replace(r, units=()), "no units to report"),
        (lambda r: replace(r, units=(*r.units, r.units[0])), "is given twice"),
        (lambda r: replace(r, headline="gout"), "no unit of the headline task 'gout'; there are: prognosis, severity"),
        (lambda r: replace(r, units=(replace(r.units[0], task="gout"),)), "unknown tasks gout; known: prognosis, severity"),
    ],
)
def test_results_of_which_no_report_can_be_made_are_refused(
    change: Callable[[Results], Results], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ReportError, match=says):
        write_report(change(whole()), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("texts", [("a", " "), ("a",), ("a", "b", "c")])
def test_a_table_with_a_blank_field_or_a_wrong_number_of_them_cannot_be_made(texts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="needed: one text per"):
        Table("t", ("x", "y"), (tuple(Cell(text) for text in texts),))
