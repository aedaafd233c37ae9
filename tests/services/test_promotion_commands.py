"""The verbs of promotion, as a person and as several processes use them."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import mdmt
from tests.serving.tiny_bundle import write_bundle
from tests.training.test_gate import FULL, tell
from tests.training.test_promotion import register
from training.promotion import GateClosed, history
from training.tracking import Tracking, default_uri

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tracking(new_home: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    """Four versions of "mdmt", the second worse than the first."""
    home = new_home()
    tracking = Tracking(default_uri(home), home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    monkeypatch.setenv("MDMT_HOME", str(home))
    folder = tell(write_bundle(tmp_path / "bundle"), FULL)
    for auc in ([0.8, 0.82], [0.6, 0.61], [0.8, 0.82], [0.8, 0.82]):
        register(tracking, "mdmt", folder, auc)
    return tracking


def mdmt_says(*arguments: str) -> Result:
    return CliRunner().invoke(mdmt.app, arguments)


def test_promote_roll_back_and_list_what_happened(tracking: Tracking) -> None:
    assert "mdmt@champion is now version 1\n" in mdmt_says("promote", "--version", "1", "--who", "ada").stdout
    refused = mdmt_says("promote", "--version", "2")
    assert isinstance(refused.exception, GateClosed)
    assert mdmt_says("promote", "--version", "2", "--force").exit_code == 2
    forced = mdmt_says("promote", "--version", "2", "--force", "--reason", "a new scanner")
    assert "is now version 2 (was 1)" in forced.stdout
    assert "not worse than the champion: WAIVED, auc of prognosis 0.6050" in forced.stdout
    assert "already is version 2" in mdmt_says("promote", "--version", "2").stdout
    assert "is back at version 1 (was 2)" in mdmt_says("rollback", "--reason", "no [good]").stdout
    listed = mdmt_says("promotions").stdout
    for words in ("promotions of mdmt", "ada", "promote champion: none → 1", "promote champion: 1 → 2, forced", "no [good]"):
        assert words in listed
    assert re.search(r"rollback champion: 2 → 1", listed)


@pytest.mark.slow
def test_processes_that_promote_at_once_all_succeed_and_the_history_has_no_gap(tracking: Tracking, tmp_path: Path) -> None:
    versions = (1, 3, 4)
    processes = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "mdmt.py"), "promote", "--version", str(version)],
            env=os.environ | {"MDMT_HOME": str(tmp_path / f"home-{version}")},  # homes of their own: the lock is the database's
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for version in versions
    ]
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors[-2000:]
    moves = history("mdmt", tracking)
    assert sorted(move.version for move in moves) == list(versions)
    assert [move.previous for move in moves] == [*(move.version for move in moves[1:]), None]
    assert int(tracking.client.get_model_version_by_alias("mdmt", "champion").version) == moves[0].version
