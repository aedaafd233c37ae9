"""A stage on this machine: an `mdmt` verb in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest

from services.executors.executor import StageFailed, Stopped
from services.executors.process import ProcessExecutor
from tests.journeys.under_fire.ground import ROOT
from tests.services.executors.test_process import children


def test_a_verb_that_fails_is_told_with_what_it_said_last(tmp_path: Path) -> None:
    executor = ProcessExecutor(1, environment={"MDMT_HOME": str(tmp_path)})
    with pytest.raises(StageFailed, match=r"(?s)`mdmt plan --recipe nope` ended with code 1:.*no recipe 'nope'; shipped: demo"):
        executor.stage(["plan", "--recipe", "nope"])


def test_a_verb_does_its_work_in_the_given_home(tmp_path: Path) -> None:
    ProcessExecutor(1, environment={"MDMT_HOME": str(tmp_path)}).stage(["weights", "--help"])


def test_told_to_stop_a_stage_ends_soon_and_leaves_no_process(tmp_path: Path) -> None:
    stop, before = Flag(), children()
    executor = ProcessExecutor(1, stop, {"MDMT_HOME": str(tmp_path)})
    Thread(target=lambda: (time.sleep(0.5), stop.set())).start()
    begun = time.monotonic()
    with pytest.raises(Stopped, match="told to stop during phantom --folder"):
        executor.stage(["phantom", "--folder", str(tmp_path / "phantom")])
    assert time.monotonic() - begun < 10
    assert children() == before


def test_a_stage_ends_with_a_runner_that_is_killed(tmp_path: Path) -> None:
    code = f"from services.executors.process import ProcessExecutor as P; P(1).stage(['phantom', '--folder', {str(tmp_path / 'p')!r}])"
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    until((tmp_path / "p").exists)  # it works, so it has asked to be taken along
    stages = [pid for pid in children(runner.pid) if b"services.executors.stage" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    runner.kill()
    runner.wait()
    assert len(stages) == 1
    until(lambda: not Path(f"/proc/{stages[0]}").exists() or is_over(stages[0]))


def is_over(pid: int) -> bool:
    """Also when nobody has waited for it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)
