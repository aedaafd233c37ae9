"""The benchmark of the training loop runs from one command and computes for itself whether a goal is reached."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.clock import Spent, interleaved, middle, ratio

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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_form_writes_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "training.md"
    command = [sys.executable, "-m", "benchmarks.training.run", "--quick", "--output", str(file)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=800)
    text = file.read_text()
    for words in ("Research use only", "## Goals", "reached", "own fit, end to end", "what a loop adds", "Peak memory"):
        assert words.lower() in text.lower()
