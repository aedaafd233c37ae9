"""What the registry holds: one folder that alone can turn the bytes of a chest X-ray into a prediction.

    bundle.json        what this is: pipeline, tasks, calibration, golden case, lineage, and the SHA-256 of every file
    model.onnx         the network (the name that MLflow's onnx flavour expects)
    segmenter.onnx     the lung U-Net
    golden.png         a generated film (never a patient's) whose answer is known
    MODEL_CARD.md      for people
    weights.safetensors    the same network for further training

There is no pickle and no code in it, and loading imports neither MLflow nor torch: nothing of a bundle is ever executed.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from cxr.engine import Engine
from cxr.pipeline import Film, PipelineSpec, prepare
from cxr.reading import Limits
from cxr.segmentation import OnnxSegmenter
from cxr.tasks import Task

FORMAT = 1
MANIFEST, NETWORK, SEGMENTER, GOLDEN, CARD, WEIGHTS = (
    "bundle.json", "model.onnx", "segmenter.onnx", "golden.png", "MODEL_CARD.md", "weights.safetensors",
)  # fmt: skip
REQUIRED = (NETWORK, SEGMENTER, GOLDEN, CARD)
GOLDEN_SHIFT = 2  # pixels of the golden film that its box may move by, for the same reason
GOLDEN_TOLERANCE = 1e-3  # in probability: another processor rounds differently, another network does not hit this


class BundleError(RuntimeError):
    """A bundle that must not be served: a file is missing or altered, or the golden case comes out differently."""


class GoldenCase(BaseModel):
    """The expected answer to `golden.png`."""

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


@dataclass(frozen=True)
class TaskAnswer:
    """One task's answer: the most probable class and the calibrated probability of each."""

    label: str
    index: int
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Prediction:
    """The answer to one film: by task, with the film it was given for."""

    answers: dict[str, TaskAnswer]
    film: Film


class Bundle:
    """A loaded bundle. `threads` is the size of the pool that the segmenter and the network each use."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.manifest = read_manifest(folder)
        self.digest = digest_of((folder / MANIFEST).read_bytes())
        self.tasks = tuple(_task(entry) for entry in self.manifest.tasks)
        self.segmenter = OnnxSegmenter((folder / SEGMENTER).read_bytes(), threads)
        self.engine = Engine((folder / NETWORK).read_bytes(), self.tasks, self.manifest.temperatures, threads)
        self._golden = (folder / GOLDEN).read_bytes()

    def prepare(self, data: bytes, limits: Limits | None = None) -> Film:
        """File content → Film, exactly as in training. Raises FilmError."""
        return prepare(data, self.manifest.pipeline, self.segmenter, limits)

    def predict(self, data: bytes, limits: Limits | None = None) -> Prediction:
        """File content → Prediction. Raises FilmError."""
        return self.predict_film(self.prepare(data, limits))

    def predict_film(self, film: Film) -> Prediction:
        """A film prepared by this bundle's pipeline → Prediction."""
        probabilities = self.engine.probabilities(film.pixels[None])
        answers = {}
        for task in self.tasks:
            row = probabilities[task.name][0]
            best = int(row.argmax())
            answers[task.name] = TaskAnswer(task.classes[best], best, tuple(float(p) for p in row))
        return Prediction(answers, film)

    def check_golden(self) -> None:
        """Replay the golden case; raises BundleError when the answer is not the recorded one."""
        expected = self.manifest.golden
        prediction = self.predict(self._golden)
        if expected.probabilities.keys() != prediction.answers.keys():
            raise BundleError(
                f"the golden case records {sorted(expected.probabilities)}; the network answers {sorted(prediction.answers)}"
            )
        shift = max(abs(a - b) for a, b in zip(prediction.film.box, expected.box, strict=True))
        if shift > GOLDEN_SHIFT:
            raise BundleError(
                f"the golden film's lungs are found {shift} pixels away from where they were recorded (allowed {GOLDEN_SHIFT}): "
                "preparation on this machine is not what was registered; do not serve it"
            )
        distances = [
            abs(got - wanted)
            for name, answer in prediction.answers.items()
            for got, wanted in zip(answer.probabilities, expected.probabilities[name], strict=True)
        ]
        worst = float(np.max(distances))
        if not worst <= GOLDEN_TOLERANCE:  # so put, NaN does not pass
            raise BundleError(
                f"the golden case answers {worst:.4f} away from the recorded probability (allowed {GOLDEN_TOLERANCE}): "
                "this machine or these files do not compute what was registered; do not serve them"
            )


def read_manifest(folder: Path) -> Manifest:
    """Read and verify: known format, every required file present, every digest right. Raises BundleError."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"no {MANIFEST} in the downloaded model version: it was not registered by `mdmt register`")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(f"{MANIFEST} is not of format {FORMAT}: {error.error_count()} fields are missing or unknown") from error
    if manifest.format != FORMAT:
        raise BundleError(f"{MANIFEST} has format {manifest.format}; this service reads format {FORMAT}")
    for name in REQUIRED:
        if name not in manifest.files:
            raise BundleError(f"{MANIFEST} lists no {name}")
    for name, recorded in manifest.files.items():
        file = folder / name
        if Path(name).name != name or not file.is_file() or file.is_symlink():
            raise BundleError(f"bundle file {name!r} is missing or not a plain file of the bundle's folder")
        if digest_of(file.read_bytes()) != recorded:
            raise BundleError(f"bundle file {name} was altered: its SHA-256 is not the recorded one")
    return manifest


def write_manifest(
    folder: Path,
    pipeline: PipelineSpec,
    tasks: tuple[Task, ...],
    temperatures: dict[str, float],
    golden: GoldenCase,
    lineage: dict[str, str],
) -> Manifest:
    """Seal a folder that holds all other files: digest them and write `bundle.json` last."""
    files = {path.name: digest_of(path.read_bytes()) for path in sorted(folder.iterdir()) if path.name in (*REQUIRED, WEIGHTS)}
    manifest = Manifest(
        format=FORMAT,
        pipeline=pipeline,
        tasks=[asdict(task) for task in tasks],
        temperatures=temperatures,
        golden=golden,
        lineage=lineage,
        files=files,
    )
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
    return manifest


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _task(entry: dict[str, Any]) -> Task:
    return Task(
        name=entry["name"],
        title=entry["title"],
        classes=tuple(entry["classes"]),
        meaning=tuple(entry["meaning"]),
        positive=entry["positive"],
        ranges=tuple((int(low), int(high)) for low, high in entry["ranges"]),
        ordinal=entry.get("ordinal", False),  # bundles of 0.1.0 do not say
    )
