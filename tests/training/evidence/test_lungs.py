"""The part on lungs, of generated films and a segmenter that takes dark for lung: nothing is trained here."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from cxr.segmentation import Verdict
from services.executors.process import ProcessExecutor
from tests.cxr.chests import segmenter
from tests.serving.tiny_bundle import _segmenter
from tests.training.evidence.real_layout import FILMS, PAIRS, write_pack
from tests.training.protocol.test_study import Quiet
from training.data.lung_pairs import BEHIND_HEART, WITHOUT_HEART, read_pairs
from training.evidence import lung_chart, lung_findings, lungs
from training.evidence.gate_cases import AS_IT_IS
from training.evidence.lung_chart import BOXED, GOAL, dice_chart
from training.evidence.lung_findings import Findings, find
from training.evidence.lung_frontal import DRAWN, Looked, both, of_pairs, together, unseen
from training.evidence.lung_overlap import on_spoilt, overlaps
from training.evidence.lungs import CHART, SHEET, blocks, goals, part, worst_sheet
from training.evidence.page import markdown
from training.evidence.writing import write_evidence
from training.protocol import lung_record, lung_unet
from training.protocol.lung_record import Tried
from training.protocol.lung_unet import LungUnet
from training.protocol.recipe import CohortSource, Recipe, load_recipe
from training.protocol.study import Study
from training.tracking import Tracking, default_uri


class Place(NamedTuple):
    pack: Path
    study: Study
    found: Findings


def recipe() -> Recipe:
    cohort = CohortSource(name="prognosis", reader="public_cxr", path=".", options={"part": "prognosis"})
    return load_recipe("real-lungs").model_copy(update={"cohorts": (cohort,)})


@pytest.fixture(scope="module")
def place(new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    pack, home = write_pack(tmp_path_factory.mktemp("pack")), new_home()
    graph = home / "segmenter.onnx"
    graph.write_bytes(_segmenter())
    study = Study(recipe(), pack, Tracking(default_uri(home), home), ProcessExecutor(1), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lung_unet, "ensure_segmenter", lambda *_: LungUnet(graph, "f"))
        patch.setattr(lung_record, "graph_of", lambda *_: None)
        patch.setattr(lung_record, "recorded", lambda *_: {"films": 2.0, "mean": 0.98, "median": 0.981, "worst": 0.97})
        yield Place(pack, study, find(study, Quiet()))


def test_every_held_out_pair_of_the_served_kind_is_judged_and_of_no_other(place: Place) -> None:
    held = lung_unet.held_out(place.pack / "lung-masks", "real")
    assert [one.pair for one in place.found.held] == [pair for pair in held if pair.definition == BEHIND_HEART]
    assert list(place.found.unjudged) == [WITHOUT_HEART]
    assert all(0.9 < one.dice < 1 and one.iou == pytest.approx(one.dice / (2 - one.dice)) for one in place.found.held)


def test_the_intersection_over_union_is_that_of_the_masks(place: Place) -> None:
    for one in place.found.held:
        assert one.iou == pytest.approx((one.found & one.drawn).sum() / (one.found | one.drawn).sum())


def test_with_a_graph_for_it_the_other_kind_is_judged_too(place: Place) -> None:
    pairs = read_pairs(place.pack / "lung-masks")
    both = overlaps(pairs, {BEHIND_HEART: segmenter(), WITHOUT_HEART: segmenter()})
    assert len(both) == PAIRS and {one.pair.source for one in both} == {"V7", "JSRT"}


def test_two_annotators_are_compared_on_every_film_that_both_drew(place: Place) -> None:
    assert len(place.found.humans) == PAIRS // 2
    assert all(0.9 < value < 1 for _, value in place.found.humans)


def test_a_spoilt_film_is_judged_by_a_mask_spoilt_likewise(place: Place) -> None:
    spoilt = on_spoilt(place.found.held, segmenter())
    assert spoilt["as it is"] == [one.dice for one in place.found.held]
    for name in ("on its side", "upside down"):
        np.testing.assert_allclose(spoilt[name], spoilt["as it is"], atol=0.01)
    assert (
        spoilt["cut to the middle three quarters"] > spoilt["as it is"]
    )  # the dark corners, which it takes for lung, are cut off
    assert max(spoilt["inverted"]) < 0.5  # this segmenter takes dark for lung


def test_frontal_films_are_counted_by_source_with_and_without_the_patients_that_the_unet_has_seen(place: Place) -> None:
    apart = lung_unet.held_out(place.pack / "lung-masks", "real")
    seen = {p.patient for p in read_pairs(place.pack / "lung-masks")} - {p.patient for p in apart}
    frontal = place.found.frontal
    assert {name: len(films) for name, films in frontal.items()} == {
        "prognosis": FILMS, "V7, films with drawn lungs": PAIRS // 2, "JSRT, films with drawn lungs": PAIRS // 2,
    }  # fmt: skip
    assert len(unseen(frontal["prognosis"])) == FILMS - 2 * len(seen)
    assert sum(len(unseen(films)) for name, films in frontal.items() if DRAWN in name) == len(apart)
    text = "\n".join(blocks("real", place.found))
    assert f"| all | {FILMS + PAIRS} | {both(together(frontal))} |" in text


def test_a_film_with_drawn_lungs_that_is_no_frontal_one_is_not_counted_as_one(place: Place) -> None:
    pairs, spec = read_pairs(place.pack / "lung-masks")[:4], place.study.recipe.pipeline
    views = [replace(pair, view=view) for pair, view in zip(pairs, ("AP Supine", "", "Coronal", "L"), strict=True)]
    assert len(together(of_pairs(views, spec, segmenter(), ()))) == 2


def test_the_gate_is_asked_about_films_spoilt_films_oddities_and_pictures_of_other_things(place: Place) -> None:
    gate = place.found.gate
    assert gate is not None
    assert gate.passed[AS_IT_IS].n == FILMS and gate.passed[AS_IT_IS].share > 0.85
    assert gate.passed["inverted"].share < 0.2
    assert [(one.oddity.file, one.fits) for one in gate.oddities] == [("film.png", True), ("empty.jpg", True)]
    assert {kind: len(said) for kind, said in gate.others.items()} == {"CT": 1, "photograph": 3, "pattern": 5}


def test_goals_follow_from_the_figures(place: Place) -> None:
    fine = {row[0]: row[2] for row in goals(place.found)}
    assert len(fine) == 4 and fine["both lungs on frontal films ≥ 97%"] == "reached"
    films = [Looked(Verdict.BOTH_LUNGS, False)] * 96 + [Looked(Verdict.ONE_LUNG, False)] * 4
    poor = {row[0]: row[2] for row in goals(replace(place.found, frontal={"V7": films}, gate=None))}
    assert len(poor) == 2 and poor["both lungs on frontal films ≥ 97%"] == "not reached"


def test_the_text_names_what_was_not_judged_what_was_tried_and_what_was_not_asked(place: Place) -> None:
    alone = "\n".join(blocks("real", place.found))
    assert f"“{WITHOUT_HEART}” could not be judged film by film" in alone and "recorded Dice 0.980 in the mean" in alone
    assert "Tried" not in alone
    tried = [Tried("real", 0.0, 0.957, 0.951, 0.79, 700.0), Tried("real-lungs", 0.25, 0.95, 0.95, 0.8, 800.0)]
    text = "\n".join(blocks("real", replace(place.found, tried=tried, gate=None)))
    assert "Best on the validation films: `real`; used here: `real`" in text and "| real-lungs | 25% | 0.9500 |" in text
    assert "Too few films to fit a gate to" in text


def test_presets_are_compared_on_the_same_spoilt_films(place: Place) -> None:
    spoilt = {"real": {"inverted": [0.4, 0.2]}, "real-lungs": {"inverted": [0.9, 0.8]}}
    text = "\n".join(blocks("real", replace(place.found, spoilt=spoilt)))
    assert "| film | films | `real`, mean Dice | worst | `real-lungs`, mean Dice | worst |" in text
    assert "| inverted | 2 | 0.300 | 0.200 | 0.850 | 0.800 |" in text


def test_annotators_and_unet_are_compared_on_the_same_films_where_enough_were_drawn_twice(place: Place) -> None:
    one = replace(place.found.held[0], dice=0.9, humans=0.8)
    few, enough = ("\n".join(blocks("real", replace(place.found, held=[one] * n))) for n in (4, 5))
    assert f"Of the {PAIRS // 2} films that two annotators drew, 4 were held out: too few" in few
    assert (
        f"Of the {PAIRS // 2} films that two annotators drew, 5 were held out. On these they agree by 0.800 in the mean" in enough
    )


def test_too_few_films_give_no_gate_and_no_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lung_findings, "MOST", 10)
    assert lung_findings._gate(place.study, segmenter(), Quiet()) is None


def test_the_part_publishes_a_chart_and_keeps_the_films(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lungs, "find", lambda *_: place.found)
    made = part(place.study, Quiet())
    assert set(made.pictures) == {CHART} and set(made.kept) == {SHEET}
    page = tmp_path / "evidence.md"
    page.write_text("# Evidence\n\n<!-- real-lungs -->\n<!-- /real-lungs -->\n")
    assert write_evidence(place.study, Quiet(), tmp_path / "report", page)
    assert markdown(made) in page.read_text() and (tmp_path / "images/evidence" / CHART).is_file()
    assert (tmp_path / "report-films" / SHEET).is_file() and not list((tmp_path / "report").rglob(SHEET))


def test_the_worst_film_is_first_on_the_sheet(place: Place) -> None:
    dark, bright = replace(place.found.held[0], dice=0.2), replace(place.found.held[0], dice=0.9)
    dark, bright = replace(dark, film=dark.film * 0), replace(bright, film=bright.film * 0 + 255)
    sheet = np.asarray(Image.open(BytesIO(worst_sheet([bright, dark]))).convert("L"))
    assert np.median(sheet[20:230, :224]) == 0 and np.median(sheet[20:230, 224:448]) == 255


def test_the_chart_is_a_png_that_is_the_same_every_time_and_wider_with_every_source() -> None:
    sources = {"V7": [0.9, 0.95, 0.97], "JSRT": [0.98]}
    assert Image.open(BytesIO(dice_chart(sources, [0.949], 0.95))).format == "PNG"
    assert dice_chart(sources, [0.949], 0.95) == dice_chart(sources, [0.949], 0.95) != dice_chart(sources, [0.949], 0.94)
    widths = [Image.open(BytesIO(dice_chart(sources, humans, 0.95))).width for humans in ([], [0.949])]
    assert widths[0] < widths[1]
    with pytest.raises(ValueError, match="at least one"):
        dice_chart({}, [], 0.95)


def test_the_chart_shows_the_goal_the_means_and_boxes_only_where_there_are_films_enough_for_quarters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lung_chart, "png", lambda figure: figure)
    few, enough = ([0.9 + 0.001 * i for i in range(n)] for n in (BOXED - 1, BOXED))
    (axis,) = lung_chart.dice_chart({"V7": few, "JSRT": enough}, [0.94, 0.95], 0.95).axes  # type: ignore[attr-defined]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["V7\nn = 9", "JSRT\nn = 10", "two annotators\nn = 2"]
    goal, *_ = [line for line in axis.lines if line.get_color() == GOAL]
    assert set(goal.get_ydata()) == {0.95} and goal.get_zorder() > min(line.get_zorder() for line in axis.lines)
    assert [line.get_ydata()[0] for line in axis.lines if line.get_marker() == "D"] == pytest.approx([0.904, 0.9045, 0.945])
    assert {round(float(np.mean(line.get_xdata()))) for line in axis.lines if line.get_color() == "gray"} == {
        1
    }  # the median of a box
