"""The phantom cohort: same bytes for the same spec, tables that hold what was drawn, severity as published, a true Bayes bound."""

import csv
import hashlib
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from cxr.tasks import severity_category, zone_scores
from training.data.cohorts.phantom import (
    PhantomError,
    PhantomSpec,
    contact_sheet,
    generate,
)
from training.data.cohorts.phantom import plan as planning
from training.data.cohorts.phantom.acquisition import expose, patient_anatomy
from training.data.cohorts.phantom.anatomy import Anatomy
from training.data.cohorts.phantom.canvas import Canvas
from training.data.cohorts.phantom.rendering import Scene, attenuation
from training.data.cohorts.phantom.severity import ZONE_COUNTS, draw_zones
from training.data.cohorts.phantom.writing import stored_values, write_film

TINY = PhantomSpec(
    prognosis_films=18,
    severity_films=14,
    lung_pairs=3,
    held_out_films=2,
    pixels=(96, 144),
    canvas=128,
    films_per_subject=1.4,
    seed=3,
)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom")
    generate(root, TINY, workers=1)
    return root


@pytest.mark.long
def test_the_bytes_do_not_depend_on_the_number_of_workers(made: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    generate(tmp_path, TINY, workers=2, progress=lambda done, total: calls.append((done, total)))
    assert digests(tmp_path) == digests(made)
    assert calls == [(i, 37) for i in range(1, 38)]


def test_a_finished_folder_is_left_alone_and_gives_the_same_report(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    report = generate(made, TINY)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    assert report.model_dump(mode="json") == json.loads((made / "phantom.json").read_text())["report"]


def test_another_spec_or_a_missing_marker_makes_the_folder_again(tmp_path: Path) -> None:
    few = TINY.model_copy(update={"prognosis_films": 9, "severity_films": 2, "lung_pairs": 0})
    generate(tmp_path, few, workers=1)
    first = digests(tmp_path)
    (tmp_path / "phantom.json").unlink()
    (tmp_path / "BRIXIA" / "left-over.dcm").write_bytes(b"")
    generate(tmp_path, few, workers=1)
    assert digests(tmp_path) == first
    generate(tmp_path, few.model_copy(update={"seed": 4}), workers=1)
    assert digests(tmp_path).keys() != first.keys()


def test_a_folder_of_real_data_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "BRIXIA").mkdir()
    (tmp_path / "BRIXIA" / "real.dcm").write_bytes(b"real")
    with pytest.raises(PhantomError, match="BRIXIA that no phantom made"):
        generate(tmp_path, TINY)
    assert (tmp_path / "BRIXIA" / "real.dcm").read_bytes() == b"real"


def test_the_prognosis_workbooks_hold_what_was_drawn(made: Path) -> None:
    drawn = {film.id: film for film in planning.prognosis_films(TINY)}
    seen = {}
    for name, folder in (("AIforCOVID", "imgs"), ("AIforCOVID_r2", "imgs_r2"), ("AIforCOVID_r3", "imgs_r3")):
        for row in pd.read_excel(made / "AIforCOVID" / f"{name}.xlsx").itertuples():
            seen[row.ImageFile] = (row.Hospital, row.Prognosis)
            assert len(list((made / "AIforCOVID" / folder).glob(f"{row.ImageFile}.*"))) == 1
    assert seen == {name: (film.style, "SEVERE" if film.severe else "MILD") for name, film in drawn.items()}
    assert {centre for centre, _ in seen.values()} == set("ABCDEF")


def test_the_severity_table_matches_its_dicoms_and_drops_leading_zeros(made: Path) -> None:
    with (made / "BRIXIA" / "metadata_global_v2.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    drawn = list(planning.severity_films(TINY))
    assert [zone_scores(row["BrixiaScore"]) for row in rows] == [film.scores for film in drawn]
    assert all(row["BrixiaScore"] == "0" or not row["BrixiaScore"].startswith("0") for row in rows)
    for row in rows:
        dicom = pydicom.dcmread(made / "BRIXIA" / "dicom_clean" / row["Filename"])
        assert (str(dicom.Rows), str(dicom.Columns)) == (row["Rows"], row["Columns"])
        assert dicom.PhotometricInterpretation == row["PhotometricInterpretation"]
        assert (dicom.Modality, dicom.Manufacturer, dicom.PatientID) == (row["Modality"], row["Manufacturer"], row["Subject"])
        assert str(dicom.PatientName) == "PHANTOM"
        assert not dicom.StudyDate and not dicom.PatientBirthDate
        assert int(row["BrixiaScoreGlobal"]) == sum(zone_scores(row["BrixiaScore"]))


def test_every_film_has_sides_and_values_within_the_spec(made: Path) -> None:
    for path in [p for p in made.rglob("*") if p.suffix in (".dcm", ".png", ".tif") and p.parent.name != "masks"]:
        if path.suffix == ".dcm":
            dicom = pydicom.dcmread(path)
            pixels = dicom.pixel_array
            assert pixels.max() < 2**dicom.BitsStored
        else:
            pixels = np.asarray(Image.open(path))
        assert pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16)
        assert min(pixels.shape) >= 96 and max(pixels.shape) <= 144
        assert pixels.std() > 0.05 * np.ptp(pixels)


def test_lung_pairs_have_binary_masks_of_the_size_of_the_film(made: Path) -> None:
    pairs = pd.read_csv(made / "lung-masks" / "pairs.csv")
    assert list(pairs.columns[:6]) == ["id", "image", "mask", "patient_id", "dataset", "definition"]
    for pair in pairs.itertuples():
        image, mask = (np.asarray(Image.open(made / "lung-masks" / name)) for name in (pair.image, pair.mask))
        assert image.shape == mask.shape == (pair.height, pair.width)
        assert set(np.unique(mask)) == {0, 255}
        assert mask.mean() / 255 == pytest.approx(pair.lung_fraction, abs=1e-3)
        assert 0.15 < pair.lung_fraction < 0.6


def test_held_out_films_are_in_no_table_and_their_truth_is_written(made: Path) -> None:
    truth = json.loads((made / "held-out" / "truth.json").read_text())
    assert {Path(name).suffix for name in truth} == {".png", ".dcm"}
    for name, entry in truth.items():
        assert (made / "held-out" / name).is_file()
        assert entry["global_score"] == sum(entry["zone_scores"].values())
        assert entry["severity"] == str(severity_category(entry["global_score"]))
        assert 0 < entry["bayes_probability_severe"] < 1


@pytest.mark.parametrize("syntax", ["plain", "rle", "jpeg2000"])
@pytest.mark.parametrize("bits", [8, 10, 16])
def test_a_dicom_gives_back_the_values_that_were_stored(tmp_path: Path, syntax: str, bits: int) -> None:
    film = replace(next(planning.severity_films(TINY)), syntax=syntax, bits=bits, monochrome1=True)
    exposure = expose(film)
    write_film(tmp_path / "film.dcm", film, exposure)
    dicom = pydicom.dcmread(tmp_path / "film.dcm")
    assert (dicom.pixel_array == stored_values(film, exposure.picture)).all()
    assert dicom.BitsStored == bits
    assert dicom.file_meta.TransferSyntaxUID.is_compressed == (syntax != "plain")


def test_zone_scores_have_the_published_marginals() -> None:
    rng = np.random.default_rng(0)
    zones = np.array([draw_zones(rng.standard_normal(), 0.8, rng) for _ in range(8000)])
    published = np.array(ZONE_COUNTS) / np.sum(ZONE_COUNTS, axis=1, keepdims=True)
    drawn = np.array([np.bincount(zones[:, k], minlength=4) / len(zones) for k in range(6)])
    assert np.abs(drawn - published).max() < 0.02
    assert zones.sum(axis=1).mean() == pytest.approx(8.30, abs=0.2)
    assert zones.sum(axis=1).std() == pytest.approx(4.24, abs=0.4)


def test_a_cohort_without_a_link_is_drawn_alike_but_for_its_outcomes_and_says_its_bound(tmp_path: Path) -> None:
    cut = TINY.model_copy(update={"link": 0.0, "severity_films": 1, "lung_pairs": 0})
    report = generate(tmp_path, cut, workers=1)
    assert report.bayes_accuracy_population == round(900 / 1585, 4)
    truth = json.loads((tmp_path / "held-out" / "truth.json").read_text())
    assert [entry["bayes_probability_severe"] for entry in truth.values()] == [round(85 / 120, 4), round(45 / 104, 4)]
    films = list(planning.prognosis_films(PhantomSpec.small(link=0.0, prognosis_films=2000)))
    linked = list(planning.prognosis_films(PhantomSpec.small(prognosis_films=2000)))
    assert [replace(film, severe=None) for film in films] == [replace(film, severe=None) for film in linked]

    def pull(cohort: list[planning.FilmPlan]) -> float:
        return float(np.corrcoef([film.global_score for film in cohort], [bool(film.severe) for film in cohort])[0, 1])

    assert abs(pull(films)) < 0.08 and pull(linked) > 0.3


def test_a_negative_link_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        PhantomSpec(link=-0.1)


def test_the_ages_in_the_prognosis_workbooks_are_those_of_adults(made: Path) -> None:
    ages = pd.concat([pd.read_excel(path)["Age"] for path in sorted((made / "AIforCOVID").glob("*.xlsx"))])
    assert ages.between(19, 95).all() and ages.nunique() > 5


def test_what_is_attached_follows_the_scores_and_not_the_outcome() -> None:
    weak, strong = (list(planning.prognosis_films(PhantomSpec.small(link=link))) for link in (0.5, 8.0))
    assert [film.severe for film in weak] != [film.severe for film in strong]
    assert [replace(film, severe=None) for film in weak] == [replace(film, severe=None) for film in strong]


def test_follow_up_films_share_the_patient_and_resemble_each_other() -> None:
    by_subject = defaultdict(list)
    films = list(planning.severity_films(PhantomSpec.small(severity_films=1200)))
    for film in films:
        by_subject[film.patient].append(film)
    pairs = [group[:2] for group in by_subject.values() if len(group) > 1]
    assert len(pairs) > 200
    assert all(patient_anatomy(a) == patient_anatomy(b) and a.female == b.female for a, b in pairs)
    assert len({film.patient_seed for film in films}) == len(by_subject)
    first, second = np.array([(a.global_score, b.global_score) for a, b in pairs]).T
    assert 0.4 < np.corrcoef(first, second)[0, 1] < 0.85
    assert 0.3 < np.mean([int(film.id) > 2**63 - 1 for film in films]) < 0.7


@settings(max_examples=12, deadline=None)
@given(zone=st.integers(0, 5), seed=st.integers(0, 2**32 - 1), female=st.booleans())
def test_a_higher_score_makes_its_zone_less_transparent(zone: int, seed: int, female: bool) -> None:
    canvas, anatomy = Canvas(128), Anatomy.draw(np.random.default_rng(seed), female)
    side = -1 if zone < 3 else 1
    borders = anatomy.zone_borders(side)
    inside = canvas.polygon(anatomy.lung(side)) > 0.5
    inside &= (canvas.y > borders[zone % 3]) & (canvas.y < borders[zone % 3 + 1])
    shadow = []
    for score in range(4):
        scores = [score if k == zone else 0 for k in range(6)]
        shadow.append(attenuation(Scene(anatomy, scores), canvas, np.random.default_rng(seed))[inside].mean())
    assert np.all(np.diff(shadow) > 0.01)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_clear_lungs_are_the_dark_part_of_the_chest_and_lie_inside_the_film(seed: int) -> None:
    film = replace(next(planning.lung_films(TINY.model_copy(update={"seed": seed}))), scores=(0,) * 6)
    exposure = expose(film)
    mask = exposure.view.mask(exposure.anatomy)
    assert not (mask[0].any() or mask[-1].any())
    height = np.linspace(-0.5, 0.3, 20)
    spine = exposure.view.to_pixels(np.column_stack([np.full(20, exposure.anatomy.midline), height])).astype(int)
    between = exposure.picture[spine[:, 1], spine[:, 0]]
    assert np.median(exposure.picture[mask]) < np.median(between)
    assert exposure.picture.min() >= 0 and exposure.picture.max() <= 1


def test_a_spec_refuses_unknown_keys_and_ranges_that_are_none() -> None:
    with pytest.raises(ValidationError, match="prognosis_film\n"):
        PhantomSpec(prognosis_film=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="give \\(shortest side, longest side\\)"):
        PhantomSpec(pixels=(500, 400))


@given(total=st.integers(9, 3000))
def test_films_are_shared_out_completely_and_to_every_centre(total: int) -> None:
    parts = planning.shares(total, [cell[3] for cell in planning.CELLS])
    assert sum(parts) == total
    assert min(parts) >= 1


def test_the_contact_sheet_is_a_picture(tmp_path: Path) -> None:
    contact_sheet(TINY, tmp_path / "sheet.png", columns=2, rows=1)
    assert Image.open(tmp_path / "sheet.png").size == (800, 400)
