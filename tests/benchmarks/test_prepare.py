"""The benchmark of preparation: its verdicts follow from its figures, and what stands for a ceiling gives the same bytes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.clock import Spent
from benchmarks.prepare.report import Figures, blocks
from benchmarks.prepare.run import films_of
from benchmarks.prepare.stages import Cost, by_table, stages
from cxr.graphs import Way
from cxr.intensity import to_gray8
from cxr.pipeline import PipelineSpec
from cxr.segmentation import OnnxSegmenter
from tests.serving.tiny_bundle import encoded, film, write_bundle
from training.data.films import FILMS
from training.data.films.manifest import Ledger
from training.data.films.unet import REFERENCE, Measured

ROOT = Path(__file__).parents[2]


def figures(film_cost: float, usual: float, opening: float, same: bool = True, growth: float = 1.0) -> Figures:
    """Ceilings of 30 ms in all; a film costs the product `film_cost` seconds, and 2 seconds before the first."""
    runs = {
        (workers, copies): [
            {
                "peak": 400.0 if copies == 1 else 400 * growth,
                "cpu": 2 + film_cost * 48 * copies,
                "wall": 3 + film_cost * 48 * copies / workers,
            }
        ]
        for workers in (1, 2)
        for copies in (1, 5)
    }
    engines = [Measured(REFERENCE, 32, 32, 1.0, 20.0), Measured(Way("openvino", "bfloat16"), 32, 1, 0.99, 9.0)]
    costs = {"decode": Cost(12, 10, "OpenCV (3 films)"), "U-Net": Cost(20, 20, "the product's (3 films)")}
    cut = {"films": 240, "ready": 80, "same": same, "cpu": 8.0, "whole": 12.0}
    others = {1024: [Spent(2 * usual, 0.4)], 256: [Spent(usual, 0.3)]}
    return Figures(48, 5, engines, runs, others, costs, cut, Spent(opening / 2, opening), False)


def test_a_film_more_and_the_start_are_told_apart() -> None:
    assert figures(0.03, 0.2, 0.03).per_film(1) == pytest.approx((30, 2))
    assert figures(0.03, 0.2, 0.03).published(1) == pytest.approx(30 + 2000 / 6293)


def test_a_film_is_another_when_its_bytes_are_though_its_manifest_says_the_same(tmp_path: Path) -> None:
    for folder, value in ((tmp_path / "a", 1), (tmp_path / "b", 2)):
        folder.mkdir()
        ledger = Ledger(folder, 4)
        slots = ledger.slots(["row"])
        with ledger:
            ledger.add({"row": "row", "slot": slots["row"], "digest": "d"})
        (folder / FILMS).write_bytes(bytes([value] * 4))
    assert films_of(tmp_path / "a", 2) != films_of(tmp_path / "b", 2)


def test_verdicts_are_computed_from_the_figures() -> None:
    good = "\n".join(blocks(figures(0.031, 0.2, 0.03)))
    assert good.count("| reached |") == 5 and "not reached" not in good
    assert "Chosen: openvino float32" in good and "1 of 32" in good and "Nothing faster was found for U-Net:" in good
    assert "| usual: Pillow, float window, eager torch, PNG of 256 | 200.0 | 300.0 |" in good
    bad = "\n".join(blocks(figures(0.06, 0.2, 0.07, same=False, growth=1.2)))
    assert bad.count("| not reached |") == 5 and "ANOTHER" in bad


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16]), st.integers(20, 700))
def test_a_table_gives_the_bytes_of_the_product(seed: int, kind: type, side: int) -> None:
    stored = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, (side, side + 7), endpoint=True).astype(kind)
    expected = to_gray8(stored.astype(np.float32))
    assert np.array_equal(by_table(stored, PipelineSpec()), expected)


def test_every_stage_of_a_film_can_be_run_alone(tmp_path: Path) -> None:
    graph = write_bundle(tmp_path / "bundle") / "segmenter.onnx"
    path = tmp_path / "film.png"
    path.write_bytes(encoded(film(seed=1)))
    ran = {stage.name: stage.own() for stage in stages(path, PipelineSpec(size=64), OnnxSegmenter.from_file(graph))}
    assert list(ran) == ["file and its digest", "decode", "window", "U-Net", "clean, judge, box", "crop and resize"]
    assert ran["crop and resize"].shape == (64, 64)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_quick_form_runs_and_writes_its_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.prepare.run", "--quick", "--output", str(tmp_path / "prepare.md")]
    subprocess.run([*command, "--state", str(tmp_path / "state")], cwd=ROOT, check=True, capture_output=True)
    assert "quick form" in (tmp_path / "prepare.md").read_text()
