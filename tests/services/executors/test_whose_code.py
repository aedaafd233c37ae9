"""Whose code a worker runs: that of its runner, wherever the runner was started."""

from pathlib import Path

import pytest

from services.executors.process import ProcessExecutor

ROOMS = ("cxr", "services", "training")


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_with_packages_of_the_same_names_changes_nothing(
    room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / room / "__init__.py"
    other.parent.mkdir()
    other.write_text("raise SystemExit('somebody else\\'s code')\n")
    monkeypatch.chdir(tmp_path)
    ProcessExecutor(1).stage(["--help"])
