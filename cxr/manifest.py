"""`bundle.json`: what a bundle is made of, and whether a folder is one, judged before anything in it is read further."""

import hashlib
import json
import math
import stat
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from cxr.conformal import SetLimits
from cxr.graphs import Precision
from cxr.pipeline import PipelineSpec
from cxr.precision import Proof
from cxr.signature import SIGNATURE
from cxr.tasks import Task

FORMAT = 1
MANIFEST, NETWORK, SEGMENTER, GOLDEN, CARD, WEIGHTS = (
    "bundle.json", "model.onnx", "segmenter.onnx", "golden.png", "MODEL_CARD.md", "weights.safetensors",
)  # fmt: skip
GATE = "gate.json"
REQUIRED = (NETWORK, SEGMENTER, GOLDEN, CARD)
SUFFIXES = (".onnx", ".png", ".md", ".json", ".safetensors")  # of files that a manifest may list
# What MLflow writes beside a logged model; never read here.
MLFLOW_FILES = ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta")
MAX_BYTES = 1 << 30  # of a whole bundle; the largest backbone makes half of it
MAX_MANIFEST_BYTES = 4 << 20
Kind = Literal[
    "malformed", "digest", "shape", "not-a-number", "golden", "slow", "too-big", "no-calibration", "unsigned", "hostile", "crashed",
    "failing",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


class BundleError(RuntimeError):
    """A bundle that must not be served: a file is missing or altered, or the golden case comes out differently. `kind` is the short
    reason, from KINDS."""

    def __init__(self, says: str, kind: Kind = "malformed") -> None:
        super().__init__(says)
        self.kind = kind


class GoldenCase(BaseModel):
    """The expected answer to a golden film."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    probabilities: dict[str, list[float]]
    box: tuple[int, int, int, int]
    film_digest: str


class Manifest(BaseModel):
    """`bundle.json`. `lineage` says where the bundle comes from: run ids, digests of data, recipe and code; no patient data."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int
    pipeline: PipelineSpec
    tasks: list[dict[str, Any]]
    temperatures: dict[str, float]
    golden: GoldenCase
    lineage: dict[str, str]
    files: dict[str, str]
    more_golden: dict[str, GoldenCase] = {}  # by file; bundles of 0.1.0 have the one above only
    class_mix: dict[str, dict[str, float]] = {}  # task → label → share among the predictions for the films it was calibrated on
    conformal: dict[str, SetLimits] = {}
    proofs: dict[Precision, Proof] = {}  # of other precisions than float32, where asked for


def read_manifest(folder: Path) -> Manifest:
    """Read and verify: known format, every required file present, every digest right, nothing else there. Raises BundleError."""
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise BundleError(f"no {MANIFEST} in the downloaded model version: it was not registered by `mdmt register`")
    check_sizes({entry.name: entry.lstat().st_size for entry in folder.iterdir()})
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(f"{MANIFEST} is not of format {FORMAT}: {error.error_count()} fields are missing or unknown") from error
    if manifest.format != FORMAT:
        raise BundleError(f"{MANIFEST} has format {manifest.format}; this service reads format {FORMAT}")
    for name in (*REQUIRED, *manifest.more_golden):
        if name not in manifest.files:
            raise BundleError(f"{MANIFEST} lists no {name}")
    _check_folder(folder, manifest)
    for name, recorded in manifest.files.items():
        if _file_digest(folder / name) != recorded:
            raise BundleError(f"bundle file {name} was altered: its SHA-256 is not the recorded one", "digest")
    _check_calibration(manifest)
    return manifest


def check_sizes(sizes: Mapping[str, int]) -> None:
    """File name → bytes, before a file is fetched or read. Raises BundleError for what no bundle of this house is as large as."""
    if sizes.get(MANIFEST, 0) > MAX_MANIFEST_BYTES or sum(sizes.values()) > MAX_BYTES:
        raise BundleError(
            f"the bundle is too big: {sum(sizes.values())} bytes with a {MANIFEST} of {sizes.get(MANIFEST, 0)}; allowed: "
            f"{MAX_BYTES} with {MAX_MANIFEST_BYTES}",
            "too-big",
        )


def _check_folder(folder: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        if Path(name).name != name or Path(name).suffix not in SUFFIXES or not (folder / name).exists():
            raise BundleError(f"bundle file {name!r} is missing or not a plain file of the bundle's folder")
    known = {MANIFEST, SIGNATURE, *MLFLOW_FILES, *manifest.files}
    for entry in folder.iterdir():
        if not stat.S_ISREG(entry.lstat().st_mode):
            raise BundleError(f"bundle file {entry.name!r} is missing or not a plain file of the bundle's folder", "hostile")
        if entry.name not in known:
            raise BundleError(f"bundle file {entry.name!r} is not listed in {MANIFEST}: nothing of it may be served", "hostile")


def _check_calibration(manifest: Manifest) -> None:
    for task in manifest.tasks:
        found = manifest.temperatures.get(str(task.get("name")))
        if found is None or not (math.isfinite(found) and found > 0):
            raise BundleError(
                f"the bundle has no calibration of task {task.get('name')!r}: found {found}, register it again", "no-calibration"
            )


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(
    folder: Path,
    pipeline: PipelineSpec,
    tasks: tuple[Task, ...],
    temperatures: dict[str, float],
    golden: GoldenCase,
    lineage: dict[str, str],
    limits: Mapping[str, SetLimits] | None = None,
    more_golden: Mapping[str, GoldenCase] | None = None,
    class_mix: Mapping[str, Mapping[str, float]] | None = None,
) -> Manifest:
    """Seal a folder that holds all other files: digest them and write `bundle.json` last."""
    listed = (*REQUIRED, WEIGHTS, GATE, *(more_golden or ()))
    files = {path.name: _file_digest(path) for path in sorted(folder.iterdir()) if path.name in listed}
    manifest = Manifest(
        format=FORMAT,
        pipeline=pipeline,
        tasks=[asdict(task) for task in tasks],
        temperatures=temperatures,
        golden=golden,
        lineage=lineage,
        files=files,
        conformal=dict(limits or {}),
        more_golden=dict(more_golden or {}),
        class_mix={task: dict(mix) for task, mix in (class_mix or {}).items()},
    )
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
    return manifest


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
