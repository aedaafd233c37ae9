"""Packages that are only compared with: in an environment of their own, which sees this project's packages, so that torch is not
installed twice.
"""

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from benchmarks.page import ROOT

ENVIRONMENT = ROOT / "state" / "bench-env"


def environment(packages: Sequence[str], modules: Sequence[str], folder: Path = ENVIRONMENT) -> tuple[Path, str]:
    """Python of the environment in `folder`, where `modules` can be imported, and nothing; or this process's, and why there is none.

    `packages` are installed where modules are missing.
    """
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, capture_output=True, timeout=120)
            (site_packages(folder) / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
        if subprocess.run([python, "-c", f"import {', '.join(modules)}"], capture_output=True, check=False).returncode:
            install = [python, "-m", "pip", "install", "--quiet", *packages]
            subprocess.run(install, check=True, capture_output=True, timeout=900)
    except (subprocess.SubprocessError, OSError) as error:
        return Path(sys.executable), f"{', '.join(packages)} could not be installed ({type(error).__name__})"
    return python, ""


def site_packages(folder: Path = ENVIRONMENT) -> Path:
    """Where the environment keeps its packages."""
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
