"""The U-Net is computed the fastest way that changes no mask."""

from pathlib import Path

import numpy as np
import pytest

from cxr.graphs import Way, installed
from tests.serving.tiny_bundle import SPEC, encoded, film
from tests.training.data.films.ground import small_cohort
from training.data.films import prepare_cohort, preparing, unet
from training.data.films.manifest import read_header
from training.data.films.unet import REFERENCE, Measured, fastest, measure, ways


def one(way: Way, equal: int, milliseconds: float) -> Measured:
    return Measured(way, 32, equal, equal / 32, milliseconds)


def test_the_fastest_that_kept_every_mask_is_chosen_and_a_single_other_pixel_is_too_many() -> None:
    half = Way("openvino", "bfloat16")
    whole = Way("onnxruntime", "float32")
    assert fastest([one(REFERENCE, 32, 20), one(whole, 32, 17), one(half, 31, 9)]) == whole
    assert fastest([one(REFERENCE, 32, 20), one(whole, 31, 17), one(half, 0, 9)]) == REFERENCE
    assert fastest([one(REFERENCE, 32, 20), one(half, 32, 9)]) == half
    assert fastest([]) == REFERENCE


def test_every_engine_here_is_measured_against_float32_on_films_that_can_be_read(tmp_path: Path, segmenter: Path) -> None:
    for seed in range(3):
        (tmp_path / f"{seed}.png").write_bytes(encoded(film(seed=seed)))
    (tmp_path / "3.png").write_bytes(b"no film")
    found = measure(segmenter, SPEC, sorted(tmp_path.glob("*.png")))
    assert [row.way for row in found] == list(ways()) and found[0].way == REFERENCE
    assert {row.films for row in found} == {3}
    assert found[0].equal == 3 and found[0].iou == 1
    assert all(0 <= row.iou <= 1 and row.milliseconds > 0 for row in found)
    assert {row.way.engine for row in found} == set(installed())


def test_nothing_readable_leaves_the_reference(tmp_path: Path, segmenter: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no film")
    assert measure(segmenter, SPEC, [tmp_path / "0.png"]) == []


def test_what_was_measured_is_found_again_for_the_same_unet_and_spec_only(tmp_path: Path) -> None:
    rows = [one(REFERENCE, 32, 20.5)]
    unet.remember(tmp_path, "a" * 64, SPEC, rows)
    assert unet.known(tmp_path, "a" * 64, SPEC) == rows
    assert unet.known(tmp_path, "b" * 64, SPEC) is None
    assert unet.known(tmp_path, "a" * 64, SPEC.model_copy(update={"threshold": 0.4})) is None


def test_masks_of_nothing_are_equal() -> None:
    nothing = np.zeros((4, 4), bool)
    assert unet.iou(nothing, nothing) == 1
    assert unet.iou(nothing, ~nothing) == 0


def test_a_store_records_the_choice_and_goes_on_with_it(tmp_path: Path, segmenter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "WORTH", 20)
    cohort = small_cohort(tmp_path / "images", 24)
    root = tmp_path / "store"
    store = prepare_cohort(cohort, root, SPEC, segmenter, 1)
    measured = unet.known(root, preparing.graph_digest(segmenter), SPEC)
    assert measured is not None
    assert [row["way"] for row in read_header(store.folder)["engines"]] == [str(row.way) for row in measured]
    assert {entry["by"] for entry in store.entries.values()} <= {str(REFERENCE), str(fastest(measured))}
    later = small_cohort(tmp_path / "images", 26)
    added = prepare_cohort(later, root, SPEC, segmenter, 1)
    assert {added.entries[row]["by"] for row in ("024", "025")} == {str(fastest(measured))}
