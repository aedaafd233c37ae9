"""Lightning and Accelerate in an environment of their own, which sees this project's packages, so that torch is not installed twice."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

WANTED = ("lightning", "accelerate")
ROOT = Path(__file__).parents[2]


def environment(folder: Path) -> tuple[str, str]:
    """Python of the environment in `folder`, made if it is not there; and what went wrong, in which case it is this one's."""
    python = folder / "bin" / "python"
    ready = folder / "ready"
    try:
        if not ready.is_file():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=120)
            inside = subprocess.run(
                [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                check=True,
                capture_output=True,
                text=True,
            )
            (Path(inside.stdout.strip()) / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
            subprocess.run([str(python), "-m", "pip", "install", "-q", *WANTED], check=True, capture_output=True, timeout=300)
            ready.touch()
    except (subprocess.SubprocessError, OSError) as error:
        return (
            sys.executable,
            f"lightning and accelerate could not be installed ({type(error).__name__}), so they are not measured",
        )
    return str(python), ""


def loops(python: str, steps: int, rounds: int) -> dict[str, Any]:
    """{"step": ms of the plain loop, "added": {loop: ms}}: see `loops`."""
    command = [python, "-m", "benchmarks.training.loops", str(steps), str(rounds)]
    told = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True, timeout=600
    )
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return found


def versions(python: str) -> dict[str, str]:
    """Installed versions by name; absent packages are left out."""
    code = (
        "import importlib.metadata as m, importlib.util as u, json; "
        f"print(json.dumps({{name: m.version(name) for name in {WANTED!r} if u.find_spec(name)}}))"
    )
    told = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(told.stdout)
    return found
