"""Backup and restore where MLflow has accounts, or has none: what the scripts ask of `docker`, which is a stand-in here."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.platform.stack import REPO

STAND_IN = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
    "compose ps "*) echo "$CONTAINER" ;;
    inspect*) echo "$HAS" ;;
    "compose config"*) echo "$WOULD_HAVE" ;;
esac
"""
HAS, WOULD_HAVE = '["PATH=/bin","MDMT_TRACKING_ACCOUNTS=true"]', '      MDMT_TRACKING_ACCOUNTS: "true"'
every_script = pytest.mark.parametrize("script", ["backup", "restore"])


def called(
    script: str, folder: Path, container: str, has: str, would_have: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """How the script ended, and the calls of `docker`."""
    program, calls, backup = folder / "bin" / "docker", folder / "calls", folder / "backup"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    if script == "restore":
        backup.mkdir()
        for name in ("database.dump", "artifacts.tar"):
            (backup / name).write_bytes(b"")
        lines = (f"{hashlib.sha256(b'').hexdigest()}  {name}\n" for name in ("database.dump", "artifacts.tar"))
        (backup / "SHA256SUMS").write_text("".join(lines))
    told = {"CALLS": str(calls), "CONTAINER": container, "HAS": has, "WOULD_HAVE": would_have}
    environment = os.environ | told | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [REPO / "docker" / f"{script}.sh", backup], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done, calls.read_text().splitlines()


@every_script
def test_files_without_the_accounts_that_mlflow_runs_with_are_refused_before_anything_is_done(
    script: str, tmp_path: Path
) -> None:
    done, calls = called(script, tmp_path, "c1", HAS, "services: {}")
    assert done.returncode == 1
    assert "COMPOSE_FILE=docker-compose.yml:compose.auth.yml" in done.stderr and "nothing was changed" in done.stderr
    assert [call.split()[:2] for call in calls] == [["compose", "ps"], ["inspect", "--format"], ["compose", "config"]]


@every_script
@pytest.mark.parametrize(
    ("container", "has", "would_have"),
    [("c1", HAS, WOULD_HAVE), ("c1", "[]", "services: {}"), ("c1", "[]", WOULD_HAVE), ("", "", "")],
)
def test_any_other_stack_is_saved_and_restored(script: str, container: str, has: str, would_have: str, tmp_path: Path) -> None:
    done, calls = called(script, tmp_path, container, has, would_have)
    assert done.returncode == 0, done.stderr
    last = {"backup": "compose exec -T mlflow tar", "restore": "compose up --detach --wait mlflow"}[script]
    assert calls[-1].startswith(last)
