"""The benchmark of preparation: its verdicts follow from its figures, and what stands for a ceiling gives the same bytes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.prepare.report import Figures, blocks
from benchmarks.prepare.stages import Cost, by_table, stages
from cxr.graphs import Way
from cxr.intensity import to_gray8
from cxr.pipeline import PipelineSpec
from cxr.segmentation import OnnxSegmenter
from tests.serving.tiny_bundle import encoded, film, write_bundle
from training.data.films.unet import REFERENCE, Measured

ROOT = Path(__file__).parents[2]


def figures(film_cost: float, usual: float, opening: float, same: bool = True) -> Figures:
    """Ceilings of 30 ms in all; a film costs the product `film_cost` seconds, and 2 seconds before the first."""
    runs = {
        (workers, copies): [{"cpu": 2 + film_cost * 48 * copies, "wall": 3 + film_cost * 48 * copies / workers}]
        for workers in (1, 2)
        for copies in (1, 5)
    }
    engines = [Measured(REFERENCE, 32, 32, 1.0, 20.0), Measured(Way("openvino", "bfloat16"), 32, 1, 0.99, 9.0)]
    costs = {"decode": Cost(12, 10, "OpenCV (3 films)"), "U-Net": Cost(20, 20, "the product's (3 films)")}
    cut = {"films": 240, "ready": 80, "same": same, "cpu": 8.0, "whole": 12.0}
    return Figures(48, 5, engines, runs, usual, costs, cut, opening, False)


def test_a_film_more_and_the_start_are_told_apart() -> None:
    assert figures(0.03, 0.2, 0.03).per_film(1) == pytest.approx((30, 2))
    assert figures(0.03, 0.2, 0.03).published(1) == pytest.approx(30 + 2000 / 6293)


def test_verdicts_are_computed_from_the_figures() -> None:
    good = "\n".join(blocks(figures(0.031, 0.2, 0.03)))
    assert good.count("| reached |") == 4 and "not reached" not in good
    assert "Chosen: openvino float32" in good and "1 of 32" in good
    bad = "\n".join(blocks(figures(0.06, 0.2, 0.07, same=False)))
    assert bad.count("| not reached |") == 4 and "ANOTHER" in bad


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
