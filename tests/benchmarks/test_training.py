"""The benchmark of the training loop runs from one command and computes for itself whether a goal is reached."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.clock import Spent, interleaved, middle, ratio
from benchmarks.training.contenders import GIVEN_BACK
from benchmarks.training.epoch import BESIDE, BETWEEN, EVALUATION, FORWARD
from benchmarks.training.parts import bits
from benchmarks.training.pictures import make
from benchmarks.training.writing import AUTHORS, FIT, JPEG, KEPT, MEMMAP, STEP, blocks
from training.learning.calibration import WAYS

ROOT = Path(__file__).parents[2]


def test_contenders_take_turns_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []

    def contender(name: str) -> Spent:
        order.append(name)
        return Spent(float(len(order)), 0.0)

    taken = interleaved({"a": lambda: contender("a"), "b": lambda: contender("b")}, 2)
    assert order == ["a", "b"] * 3
    assert [one.cpu for one in taken["a"]] == [3.0, 5.0]


def test_ratios_are_medians_over_rounds_and_not_of_medians() -> None:
    of, to = [Spent(2.0, 0), Spent(9.0, 0), Spent(4.0, 0)], [Spent(1.0, 0), Spent(3.0, 0), Spent(4.0, 0)]
    assert ratio(of, to) == 2.0
    assert middle(of).cpu == 4.0


def measured(forward: float, writing: float, others: float) -> dict[str, Any]:
    """What a run finds: steps of 2 ms by hand, 2.2 ms where buffers are given back, and other data paths of `others` ms."""
    milliseconds = {KEPT: 2.0, GIVEN_BACK: 2.2, STEP: 2.0, FIT: 2.0, AUTHORS: 5 * others, JPEG: others, MEMMAP: others}
    parts = {part: Spent(0.0, 0.0) for part in (FORWARD, EVALUATION, *BETWEEN, *BESIDE)}
    parts |= {FORWARD: Spent(forward, forward), BESIDE[0]: Spent(writing, writing)}
    return {
        "contests": [
            {
                "case": ("shufflenet_v2_x0_5", 96, 64, 3), "way": WAYS[2], "ways": dict(zip(WAYS, (4e-3, 4e-3, 2e-3, 3e-3), strict=True)),
                "taken": {name: [Spent(ms / 1000, ms / 1000)] for name, ms in milliseconds.items()},
            }
        ],
        "data": {96: [Spent(4e-5, 4e-5)]}, "bits": 1, "loops": {"step": 1.0, "added": {"this product": 0.04}}, "missing": "",
        "epoch": {"steps": 2.0, "whole": Spent(2.0, 2.0 + forward), "parts": parts, "rest": 0.0}, "epoch_case": (96, 128),
        "device": {1000: 0.97}, "memory": {who: [[100.0, 0, 0]] for who in ("fit", "hand")}, "memory_case": ("net", 96, 8, 1.0),
    }  # fmt: skip


def test_what_bounds_a_goal_is_said_only_of_goals_that_are_missed() -> None:
    good = "\n".join(blocks(measured(0.01, 0.001, 8.0), False, 5))
    assert "| not reached |" not in good and "What bounds" not in good
    bad = "\n".join(blocks(measured(0.2, 0.1, 2.4), False, 5))
    assert bad.count("| not reached |") == 5
    assert "the checkpoint file, 100.0 ms" in bad and "take 9.1 % of the epoch" in bad and "films cost nothing" in bad


def test_the_best_step_by_hand_is_the_faster_one_and_the_way_of_recipes_is_compared() -> None:
    text = "\n".join(blocks(measured(0.01, 0.001, 8.0) | {"compiled": [40.0, 0.9]}, False, 5))
    assert f"| {GIVEN_BACK} | 2.20 (2.20) | 1.10 |" in text and f"| {KEPT} | 2.00 (2.00) | 1.00 |" in text
    assert "| shufflenet_v2_x0_5, 96 px | 4.00 | channels_last bfloat16 | 2.00 | 2.00× |" in text
    assert "40 s of compiling, then 0.90 of" in text


def test_bits_are_compared_over_sizes_orders_and_threads(tmp_path: Path) -> None:
    make(tmp_path, 4, 32)
    assert len(bits(tmp_path, 32)) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_form_writes_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "training.md"
    command = [sys.executable, "-m", "benchmarks.training.run", "--quick", "--output", str(file)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=800)
    text = file.read_text()
    for words in (
        "Research use only",
        "## Goals",
        "reached",
        "own fit, end to end",
        "what a loop adds",
        "its thread and its lease",
        "step by hand, buffers given back",
        "| checkpoint file |",
        "best weights kept",
        '`precision: "auto"` takes',
        "Peak memory",
    ):
        assert words.lower() in text.lower()
