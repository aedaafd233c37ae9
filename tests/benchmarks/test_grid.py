"""The benchmark of the grid: a recipe that older code reads, verdicts that follow from figures, and a quick form that runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.grid.packing import Packed
from benchmarks.grid.protocol import checked_out, recipe
from benchmarks.grid.run import _packing, _studies, goals_of
from benchmarks.grid.warmth import Warmth
from tests.contracts.executor_overhead import SlotTimes

ROOT = Path(__file__).parents[2]


def test_the_study_has_200_units_and_names_only_what_it_sets() -> None:
    given = recipe(10)
    assert given.schemes[0].folds * given.schemes[0].repeats * len(given.experiments) == 200
    text = given.model_dump_json(exclude_unset=True)
    assert type(given).model_validate_json(text) == given
    assert "gpus_per_unit" not in text and "augmentation" not in text


def test_verdicts_are_computed_from_the_figures() -> None:
    shared = [Packed("resnet18", 96, 32, 90, 150, 165)]
    good = goals_of(SlotTimes(0.1, 0.06, (0.05,)), 60, Warmth(5, 0.05, 0.1), shared)
    assert [goal.reached for goal in good] == [True] * 3
    bad = goals_of(SlotTimes(2.0, 1.6, (1.5,)), 60, Warmth(5, 0.5, 0.1), [Packed("resnet18", 96, 32, 90, 170, 165)])
    assert [goal.reached for goal in bad] == [False] * 3
    assert "loses against" in "\n".join(_packing([Packed("resnet18", 96, 32, 90, 170, 165)]))


def test_studies_are_compared_by_wall_time_per_unit() -> None:
    rows = [
        {"commit": "old", "units": 200, "workers": 2, "wall": 400, "cpu": 700, "at": "2026-11-01"},
        {"commit": "new", "units": 200, "workers": 2, "wall": 200, "cpu": 350, "at": "2026-11-02"},
    ]
    table = "\n".join(_studies(json.loads(json.dumps(rows))))
    assert (
        "| old | 2026-11-01 | 200 | 2 | 400 | 700 | 88 % | 2.00 | 1.00× |" in table
        and "| new | 2026-11-02 | 200 | 2 | 200 | 350 | 88 % | 1.00 | 2.00× |" in table
    )
    assert "before and after" in table and "no figure of before" in "\n".join(_studies(rows[1:]))


def test_older_code_is_checked_out_as_long_as_it_is_timed_also_after_a_kill(tmp_path: Path) -> None:
    repository, folder = tmp_path / "repository", tmp_path / "before"
    repository.mkdir()

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    for text in ("old", "new"):
        (repository / "code.py").write_text(text)
        git("add", ".")
        git("commit", "--quiet", "--message", text)
    git("worktree", "add", "--detach", str(folder), "HEAD")  # left behind
    with checked_out("HEAD~1", folder, repository) as checkout:
        assert checkout is not None and (checkout / "code.py").read_text() == "old"
    assert not folder.exists() and git("worktree", "list").count("\n") == 1
    with checked_out("0123abc", folder, repository) as absent:
        assert absent is None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_form_runs_and_writes_its_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.grid.run", "--quick", "--output", str(tmp_path / "grid.md")]
    subprocess.run([*command, "--state", str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    text = (tmp_path / "grid.md").read_text()
    assert "| next unit in ≤ 0.2 s |" in text and "| 20 | 2 |" in text
