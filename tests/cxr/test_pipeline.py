"""One image path: the same film in any encoding gives the same bytes, and without lungs there is no film."""

import hashlib
import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from cxr.errors import FilmError, NoContrast, UnsupportedFormat
from cxr.pipeline import LungsNotFound, PipelineSpec, prepare
from cxr.reading import TRAINING
from cxr.segmentation import MASK_SIZE, Verdict
from tests.cxr.dicoms import dicom
from tests.serving.tiny_bundle import encoded, film

SPEC = PipelineSpec(size=64)
OTHER: dict[str, float | str] = {
    "size": 65, "low": 2.0, "high": 98.0, "threshold": 0.4, "smallest": 0.03, "margin": 0.06, "crop": "masked",
    "revision": 2,
}  # fmt: skip


class DarkIsLung:
    """A segmenter without a graph: what is darker than `level` is lung."""

    digest = "dark"

    def __init__(self, level: int = 100) -> None:
        self.level = level

    def probability(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        small = np.asarray(Image.fromarray(gray).resize((MASK_SIZE, MASK_SIZE)))
        return (small < self.level).astype(np.float32)


class Unsure(DarkIsLung):
    """Lung with a probability of 0.8, never more."""

    def probability(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        return super().probability(gray) * np.float32(0.8)


class Everywhere(DarkIsLung):
    """The same small share of the film everywhere: crumbs, no lung."""

    def probability(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        crumbs = np.zeros((MASK_SIZE, MASK_SIZE), np.float32)
        crumbs[::4, ::4] = 1
        return crumbs


def png(pixels: NDArray[Any]) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_a_film_is_square_uint8_named_by_its_pixels_and_says_how_it_came_about() -> None:
    made = prepare(encoded(film()), SPEC, DarkIsLung())
    assert made.pixels.shape == (64, 64) and made.pixels.dtype == np.uint8
    assert made.digest == hashlib.sha256(made.pixels.tobytes()).hexdigest()
    assert made.verdict is Verdict.BOTH_LUNGS
    assert (made.shape, made.source) == ((160, 160), "png")
    assert 0.2 < made.coverage < 0.35  # two ellipses of 13 % of the film each
    assert made.box.width == made.box.height == pytest.approx(1.05 * 0.66 * 160, abs=4)


def test_the_same_bytes_give_the_same_film_and_another_film_another_digest() -> None:
    first, again = (prepare(encoded(film()), SPEC, DarkIsLung()) for _ in range(2))
    assert first.digest == again.digest and first.box == again.box
    assert prepare(encoded(film(seed=1)), SPEC, DarkIsLung()).digest != first.digest


@given(scale=st.integers(1, 200), shift=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_eight_and_sixteen_bits_of_one_film_give_the_same_film(scale: int, shift: int) -> None:
    pixels = film()
    wide = (pixels.astype(np.uint16) * scale + shift).astype(np.uint16)
    assert prepare(png(wide), SPEC, DarkIsLung()).digest == prepare(png(pixels), SPEC, DarkIsLung()).digest


def test_both_photometric_twins_of_a_dicom_and_its_png_give_the_same_film() -> None:
    pixels = film()
    plain = prepare(dicom(pixels), SPEC, DarkIsLung())
    inverted = prepare(dicom(255 - pixels, PhotometricInterpretation="MONOCHROME1"), SPEC, DarkIsLung())
    assert plain.digest == inverted.digest == prepare(png(pixels), SPEC, DarkIsLung()).digest
    assert "monochrome1-inverted" in inverted.steps and "monochrome1-inverted" not in plain.steps
    mislabelled = prepare(dicom(255 - pixels), SPEC, DarkIsLung(level=60))
    assert mislabelled.digest != plain.digest


@pytest.mark.parametrize("segmenter", [DarkIsLung(level=0), Everywhere()], ids=["nothing", "crumbs"])
def test_without_lungs_there_is_no_film_never_the_whole_picture(segmenter: DarkIsLung) -> None:
    with pytest.raises(LungsNotFound) as caught:
        prepare(encoded(film()), SPEC, segmenter)
    assert caught.value.verdict is Verdict.NO_LUNGS
    assert caught.value.coverage == pytest.approx(1 / 16 if isinstance(segmenter, Everywhere) else 0)
    assert f"covering {caught.value.coverage:.1%} of the film" in str(caught.value)
    assert isinstance(caught.value, FilmError) and caught.value.code == "no-lungs"


def test_one_lung_is_a_film_with_a_verdict() -> None:
    assert prepare(encoded(film(lungs=1)), SPEC, DarkIsLung()).verdict is Verdict.ONE_LUNG


def test_the_crop_is_taken_from_the_original_film_so_a_fine_line_survives() -> None:
    pixels = film(size=1280)
    pixels[:, 640:642] = 0  # two of 1280 pixels: a mask of 256, or a film reduced before cropping, cannot hold it
    made = prepare(encoded(pixels), PipelineSpec(size=1024), DarkIsLung())
    middle = round((641 - made.box.left) * 1024 / made.box.width)
    line, beside = made.pixels[:, middle - 1 : middle + 1].mean(), made.pixels[:, middle + 20 : middle + 40].mean()
    assert line < 40 and beside > 180


@pytest.mark.parametrize("unmet", [{"smallest": 0.2}, {"threshold": 0.9}])
def test_the_smallest_object_and_the_threshold_are_the_specs(unmet: dict[str, float]) -> None:
    with pytest.raises(LungsNotFound):
        prepare(encoded(film()), PipelineSpec(size=64, **unmet), Unsure())
    assert prepare(encoded(film()), SPEC, Unsure()).verdict is Verdict.BOTH_LUNGS


def test_the_margin_and_the_percentiles_are_the_specs() -> None:
    made = {
        name: prepare(encoded(film()), PipelineSpec(size=64, **{name: OTHER[name]}), DarkIsLung()) for name in ("low", "high")
    }
    plain = prepare(encoded(film()), SPEC, DarkIsLung())
    assert made["low"].pixels.mean() < plain.pixels.mean() < made["high"].pixels.mean()
    assert prepare(encoded(film()), PipelineSpec(size=64, margin=0.2), DarkIsLung()).box.width > plain.box.width


@pytest.mark.parametrize("lungs", [1, 2])
def test_a_masked_film_is_the_boxed_film_with_black_around_the_lungs(lungs: int) -> None:
    boxed = prepare(encoded(film(lungs=lungs)), SPEC, DarkIsLung())
    masked = prepare(encoded(film(lungs=lungs)), PipelineSpec(size=64, crop="masked"), DarkIsLung())
    assert (masked.box, masked.verdict, masked.coverage) == (boxed.box, boxed.verdict, boxed.coverage)
    assert masked.digest != boxed.digest
    kept = masked.pixels == boxed.pixels
    assert 0.15 < kept.mean() < 0.9
    assert (masked.pixels[~kept] < boxed.pixels[~kept]).all()
    black = masked.pixels == 0
    assert black[[0, 0, -1, -1], [0, -1, 0, -1]].all() and (~kept & ~black).mean() < 0.12  # only a border of one pixel is mixed


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_nothing_outside_the_lungs_reaches_a_masked_film(seed: int) -> None:
    gray = np.full((160, 160), 255, np.uint8)
    gray[40:120, 20:70] = gray[40:120, 90:140] = 40
    gray[:2] = 0  # black and white are there whatever is drawn below
    noisy = gray.copy()
    noisy[125:155] = np.random.default_rng(seed).integers(150, 256, (30, 160))
    masked = PipelineSpec(size=64, crop="masked")
    assert prepare(png(noisy), masked, DarkIsLung()).digest == prepare(png(gray), masked, DarkIsLung()).digest


def test_bad_films_are_refused_by_name_before_they_are_segmented() -> None:
    with pytest.raises(NoContrast):
        prepare(png(np.full((100, 100), 7, np.uint8)), SPEC, DarkIsLung())
    tiff = BytesIO()
    Image.fromarray(film()).save(tiff, "TIFF")
    with pytest.raises(UnsupportedFormat):
        prepare(tiff.getvalue(), SPEC, DarkIsLung())
    assert prepare(tiff.getvalue(), SPEC, DarkIsLung(), formats=TRAINING).source == "tiff"


@pytest.mark.parametrize("field", PipelineSpec.model_fields)
def test_every_field_of_the_spec_changes_its_digest(field: str) -> None:
    changed = PipelineSpec(**(PipelineSpec().model_dump() | {field: OTHER[field]}))
    assert changed.digest() != PipelineSpec().digest() == PipelineSpec().digest()
    assert PipelineSpec.model_validate_json(changed.model_dump_json()).digest() == changed.digest()


def test_a_boxed_spec_keeps_the_digest_it_had_before_there_was_a_choice() -> None:
    before = {name: value for name, value in PipelineSpec().model_dump().items() if name != "crop"}
    assert PipelineSpec().digest() == hashlib.sha256(json.dumps(before, separators=(",", ":")).encode()).hexdigest()
    assert PipelineSpec.model_validate(before) == PipelineSpec()


def test_a_spec_refuses_unknown_fields_and_changes() -> None:
    with pytest.raises(ValidationError, match="sise"):
        PipelineSpec(sise=64)
    with pytest.raises(ValidationError, match="frozen"):
        PipelineSpec().size = 64
