"""A quick look in bfloat16 never changes an answer: where rounding could move the crop, or the gate is near, float32 decides."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr.bundle import Bundle
from cxr.close_calls import CloseCalls, iou, is_certain
from cxr.errors import NotFrontalChest
from cxr.gate import Gate
from cxr.manifest import SEGMENTER
from cxr.measures import Seen
from cxr.pipeline import PipelineSpec, look, prepare
from cxr.precision import Margins
from cxr.segmentation import OnnxSegmenter, clean
from tests.cxr import chests
from tests.serving.tiny_bundle import SPEC, encoded, rounding_segmenter, write_bundle

MARGINS = Margins(lungs=0.01)
HAIR = 102  # gray that is lung in float32 and is not in bfloat16


def film(edge: int) -> NDArray[np.uint8]:
    """A film of the mask's own size, so that no resampling blurs it: two dark lungs, the upper end of one of gray `edge`."""
    picture = np.full((256, 256), 255, np.uint8)
    picture[80:200, 40:110] = picture[80:200, 146:216] = 0
    picture[50:80, 40:110] = edge
    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose prognosis lies between the crops with and without the upper end."""
    folder = tmp_path_factory.mktemp("close") / "bundle"
    write_bundle(folder, segmenter=rounding_segmenter())
    data, bundle = encoded(film(HAIR)), Bundle(folder, engine="openvino")
    with_end, without = (bundle.prepare(encoded(film(edge)), gated=False).box for edge in (HAIR, 255))
    assert with_end != without
    means = [float(prepare(data, SPEC, segmenter).pixels.mean()) / 255 for segmenter in (bundle.segmenter, lower(folder))]
    if means[0] == means[1]:
        pytest.skip("this processor does not compute in bfloat16")
    between = np.array([[0, 100], [0, -100 / np.mean(means)]], np.float32)  # 100 · mean · (1 - mean / between)
    return write_bundle(folder, segmenter=rounding_segmenter(), weights={"prognosis": between})


def lower(folder: Path) -> OnnxSegmenter:
    return OnnxSegmenter((folder / SEGMENTER).read_bytes(), 1, "openvino", "bfloat16")


def test_what_bfloat16_alone_answers_otherwise_is_looked_at_again_and_answered_as_float32_does(folder: Path) -> None:
    data = encoded(film(HAIR))
    exact = Bundle(folder, engine="openvino")
    given = exact.predict(data, gated=False)
    alone = exact.predict_film(prepare(data, SPEC, lower(folder)))
    assert alone.answers["prognosis"].label != given.answers["prognosis"].label
    again = Bundle(folder, engine="openvino", precision="bfloat16", margins=MARGINS).predict(data, gated=False)
    assert again.answers == given.answers and again.film.digest == given.film.digest
    assert not again.film.quick


def test_a_crop_that_no_rounding_moves_is_found_quickly_and_answered_to_the_last_bit(folder: Path) -> None:
    data = encoded(film(0))
    given = Bundle(folder, engine="openvino").predict(data, gated=False)
    quick = Bundle(folder, engine="openvino", precision="bfloat16", margins=MARGINS, alone=2)
    for bundle in (quick, quick.alone):
        found = bundle.predict(data, gated=False)
        assert found.film.quick and not given.film.quick
        assert found.answers == given.answers and found.film.digest == given.film.digest


def seen(probability: NDArray[np.float32], spec: PipelineSpec = SPEC) -> Seen:
    gray = np.zeros((512, 512), np.uint8)
    return Seen(gray, probability, clean(probability >= spec.threshold, spec.smallest))


def lungs(probability: float = 0.9) -> NDArray[np.float32]:
    picture = np.full((256, 256), 0.1, np.float32)
    picture[60:200, 40:110] = picture[60:200, 146:216] = probability
    return picture


def test_lungs_with_clear_edges_are_certain_and_edges_within_the_margin_are_not() -> None:
    assert is_certain(seen(lungs()), SPEC, 0.3)
    assert not is_certain(seen(lungs(0.505)), SPEC, 0.01)  # at the raised threshold there are none
    faint = lungs()
    faint[40:60, 60:90] = 0.495  # at the lowered threshold the box reaches higher
    assert is_certain(seen(faint), SPEC, 0.004) and not is_certain(seen(faint), SPEC, 0.01)


def test_a_hole_that_comes_and_goes_inside_the_same_box_is_a_close_call() -> None:
    holed = lungs()
    holed[80:180, 50:100] = 0.505
    assert is_certain(seen(holed), SPEC, 0.004) and not is_certain(seen(holed), SPEC, 0.01)


def test_a_film_without_lungs_is_never_certain_nor_is_a_crop_of_the_lungs_alone() -> None:
    assert not is_certain(seen(np.zeros((256, 256), np.float32)), SPEC, 0.01)
    assert not is_certain(seen(lungs()), SPEC.model_copy(update={"crop": "masked"}), 0.01)


def test_noise_within_the_margin_moves_no_crop_that_is_certain() -> None:
    certain = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rough = lungs() + rng.normal(0, 0.12, (256, 256)).astype(np.float32)
        if is_certain(seen(rough), SPEC, 0.02):
            certain += 1
            other = seen(rough + rng.uniform(-0.02, 0.02, (256, 256)).astype(np.float32))
            assert iou(other.lungs, seen(rough).lungs) >= 0.99
            assert is_certain(other, SPEC, 0)
            rows = [np.flatnonzero(one.lungs.any(axis=1)) for one in (other, seen(rough))]
            assert (rows[0][0], rows[0][-1]) == (rows[1][0], rows[1][-1])
    assert 0 < certain < 60


def test_what_the_gate_refuses_or_nearly_is_decided_by_float32() -> None:
    gate = Gate(chests.gate_model())
    assert gate.model is not None
    gray = chests.chest(1_001)
    score = gate.score_of(look(gray, chests.SPEC, chests.segmenter()))
    assert score is not None and score < gate.model.threshold
    far, near = (Margins(lungs=0.01, gate=(gate.model.threshold - score) * share) for share in (0.9, 1.1))
    settled = CloseCalls(chests.segmenter(), chests.SPEC, far)(gray, gate)
    assert settled is not None and settled.score == score
    assert CloseCalls(chests.segmenter(), chests.SPEC, near)(gray, gate) is None
    assert CloseCalls(chests.segmenter(), chests.SPEC, far)(np.ascontiguousarray(255 - gray), gate) is None
    with pytest.raises(NotFrontalChest):
        gate.check(look(255 - gray, chests.SPEC, chests.segmenter()), lambda other: look(other, chests.SPEC, chests.segmenter()))
