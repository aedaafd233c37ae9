"""What a lower precision does to answers is measured film by film and sealed into the bundle."""

from pathlib import Path

import pytest

from cxr.bundle import Bundle
from tests.cxr import test_close_calls
from tests.serving.tiny_bundle import encoded, film, rounding_segmenter, write_bundle
from training.precision import SAFETY, STEPS, prove, write_proof


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, path in enumerate(paths):
        path.write_bytes(encoded(film(lungs=0 if seed == 5 else 2, seed=seed)))
    (tmp_path / "notes.png").write_text("no film")
    return [*paths, tmp_path / "notes.png"]


def test_a_precision_compared_with_itself_changes_nothing(films: list[Path], tmp_path: Path) -> None:
    proof = prove(write_bundle(tmp_path / "bundle"), films, "drawn", "float32")
    assert (proof.films, proof.moved, proof.verdicts, proof.iou_min, proof.largest_change) == (6, 0, 0, 1.0, 0.0)
    assert proof.flipped == {"prognosis": 0, "severity": 0} and proof.sets == 0
    assert proof.margins is not None and proof.margins.lungs >= SAFETY * STEPS[0]


def test_films_that_bfloat16_would_crop_otherwise_are_looked_at_again_so_that_none_is_answered_otherwise(tmp_path: Path) -> None:
    folder, films = write_bundle(tmp_path / "bundle", segmenter=rounding_segmenter()), []
    for number, edge in enumerate((test_close_calls.HAIR, 0, 255) * 4):
        films.append(tmp_path / f"{number}.png")
        films[-1].write_bytes(encoded(test_close_calls.film(edge)))
    proof = prove(folder, films, "drawn")
    if proof.moved == 0:
        pytest.skip("this processor does not compute in bfloat16")
    assert proof.moved == 4 and 0 < proof.fitted < 12
    assert proof.rechecked == pytest.approx(4 / 12)
    assert (proof.iou_min, proof.verdicts, proof.sets, proof.largest_change) == (1.0, 0, 0, 0.0)
    assert set(proof.flipped.values()) == {0}


def test_a_proof_is_sealed_into_the_bundle_which_still_answers_its_golden_case(films: list[Path], tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    before = Bundle(folder).digest
    proof = prove(folder, films, "drawn", "bfloat16")
    assert write_proof(folder, "bfloat16", proof).proofs == {"bfloat16": proof}
    again = Bundle(folder, engine="openvino", precision="bfloat16")
    again.check_golden()
    assert again.digest != before and again.manifest.proofs["bfloat16"] == proof


def test_without_a_film_to_compare_there_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no film to compare"):
        prove(write_bundle(tmp_path / "bundle"), [], "nothing")
