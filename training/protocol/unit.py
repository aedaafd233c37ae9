"""A unit of work as a value: one training, with everything that decides its result."""

import hashlib
import json
from functools import cached_property
from importlib import metadata
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from training.data.folds import ROLES
from training.protocol.recipe import BackboneChoice
from training.settings import Training

REVISION = 3  # raise it when the code of a stage gives other numbers for the same unit; 3: films are warped one by one on a CPU


class Sample(NamedTuple):
    """One film in one unit. `patient` numbers the persons of the plan."""

    cohort: str
    row: str
    slot: int
    digest: str
    role: str
    patient: int
    labels: dict[str, int]


class Sheet(BaseModel):
    """The films of a unit. Units of other backbones, or other parents, share it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: tuple[Sample, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over films, roles and labels, whatever their order; not over slots, which are an accident of the store."""
        rows = sorted([s.cohort, s.row, s.digest, s.role, sorted(s.labels.items())] for s in self.samples)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @cached_property
    def parts(self) -> dict[str, tuple[Sample, ...]]:
        """Role → its films, by cohort and row id."""
        ordered = sorted(self.samples, key=lambda s: (s.cohort, s.row))
        return {role: tuple(s for s in ordered if s.role == role) for role in ROLES}


class Unit(BaseModel):
    """One training: everything that decides its result, and where in the study it stands.

    `sheet` holds only films that know one of `tasks`. `parents` are fingerprints of the units whose backbones it starts from; `start`
    is the SHA-256 of the ImageNet weights, or "scratch". `training` is what this unit uses of the recipe, `title` what people read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    backbone: BackboneChoice
    subset: str
    scheme: str
    repeat: int
    fold: str
    tasks: tuple[str, ...]
    parents: tuple[str, ...]
    start: str
    beta: float
    batch_norm: str
    training: Training
    seed: int
    size: int
    device: str
    threads: int
    gpus_per_unit: int = 1
    sheet: Sheet

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the result: not of the names of experiment, subset, scheme and fold, so equal work is found again."""
        deciding: dict[str, Any] = {
            "backbone": self.backbone.model_dump(),
            "start": self.start if not self.parents else "parents",
            "tasks": self.tasks,
            "parents": self.parents,
            "training": self._training_that_counts(),
            "seed": self.seed,
            "size": self.size,
            "device": [self.device, self.threads if self.device == "cpu" else 0],
            "films": self.sheet.digest,
            "code": [REVISION, metadata.version("torch"), metadata.version("torchvision"), metadata.version("timm")],
        }
        if len(self.parents) > 1:
            deciding |= {"beta": self.beta, "batch_norm": self.batch_norm}
        if self.gpus_per_unit > 1:
            deciding["processes"] = self.gpus_per_unit
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def _training_that_counts(self) -> dict[str, Any]:
        """Settings without those that concern several tasks where there is one, so that such units are shared between recipes."""
        settings = self.training.deciding()
        if len(self.tasks) == 1:
            for name in ("task_weighting", "mixing", "squared_error"):
                del settings[name]
        if settings["monitor"] not in self.tasks or len(self.tasks) == 1:
            settings["monitor"] = "all"  # which is what it means then
        return settings

    @property
    def group(self) -> str:
        """Units that differ in the fold (or the repetition) only."""
        subset = "" if self.subset == "all" else f"/{self.subset}"
        return f"{self.experiment}/{self.backbone.name}-{self.backbone.weights}/{self.scheme}{subset}"

    @property
    def title(self) -> str:
        return f"{self.group}/{self.fold}" + (f"/repeat-{self.repeat}" if self.repeat else "")

    def part(self, role: str) -> tuple[Sample, ...]:
        """The films of one role, by cohort and row id."""
        return self.sheet.parts[role]

    @property
    def tags(self) -> dict[str, str]:
        """What the unit's run is found by."""
        return {
            "mdmt.kind": "unit",
            "mdmt.fingerprint": self.fingerprint,
            "mdmt.data_digest": self.sheet.digest,
            "mdmt.group": self.group,
            "mdmt.experiment": self.experiment,
            "mdmt.backbone": self.backbone.name,
            "mdmt.weights": self.backbone.weights,
            "mdmt.subset": self.subset,
            "mdmt.scheme": self.scheme,
            "mdmt.fold": self.fold,
            "mdmt.device": self.device,
        }

    @property
    def params(self) -> dict[str, object]:
        """What two runs are compared by."""
        own = {
            "tasks": "+".join(self.tasks),
            "seed": self.seed,
            "size": self.size,
            "threads": self.threads,
            "gpus_per_unit": self.gpus_per_unit,
            "start": self.start,
            "batch_norm": self.batch_norm,
            "beta": self.beta,
        }
        sizes = {f"films_{role}": len(self.part(role)) for role in ROLES}
        return self.training.model_dump(exclude={"augmentation"}) | own | sizes
