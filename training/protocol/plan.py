"""Recipe → units of work: a graph in which equal work exists once."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from cxr.tasks import by_name
from training.data.cohort import Cohort
from training.data.films import FilmStore
from training.data.folds import ROLES, Fold, assert_no_leakage
from training.data.splits import cross_validation, leave_one_centre_out, refit
from training.protocol.experiments import Experiment, in_order
from training.protocol.recipe import BackboneChoice, Recipe, Scheme
from training.settings import Training

REVISION = 1  # raise it when the code of a stage gives other numbers for the same unit


class Sample(NamedTuple):
    """One film in one unit."""

    cohort: str
    row: str
    slot: int
    digest: str
    role: str
    labels: dict[str, int]


class Unit(BaseModel):
    """One training: everything that decides its result, and where in the study it stands.

    `samples` holds only films that know one of `tasks`. `parents` are fingerprints of the units whose backbones it starts from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    backbone: BackboneChoice
    scheme: str
    fold: str
    tasks: tuple[str, ...]
    parents: tuple[str, ...]
    beta: float
    batch_norm: str
    training: Training
    seed: int
    size: int
    samples: tuple[Sample, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the result: not the names of scheme and fold, so that equal work is found again; not the slots."""
        deciding = self.model_dump(mode="json", exclude={"scheme", "fold", "experiment", "samples"})
        if len(self.parents) < 2:  # nothing is averaged: these two decide nothing
            del deciding["beta"], deciding["batch_norm"]
        deciding["samples"] = sorted([s.cohort, s.row, s.digest, s.role, sorted(s.labels.items())] for s in self.samples)
        deciding["code"] = [REVISION, metadata.version("torch")]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    @property
    def data_digest(self) -> str:
        """SHA-256 over films, roles and labels."""
        rows = sorted([s.cohort, s.digest, s.role, sorted(s.labels.items())] for s in self.samples)
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @property
    def group(self) -> str:
        """Units that differ in the fold only."""
        return f"{self.experiment}/{self.backbone.name}-{self.backbone.weights}/{self.scheme}"

    @property
    def title(self) -> str:
        return f"{self.group}/{self.fold}"

    def part(self, role: str) -> tuple[Sample, ...]:
        """The films of one role, by cohort and row id."""
        return tuple(sorted((s for s in self.samples if s.role == role), key=lambda s: (s.cohort, s.row)))

    @property
    def tags(self) -> dict[str, str]:
        """What the unit's run is found by."""
        return {
            "mdmt.kind": "unit",
            "mdmt.fingerprint": self.fingerprint,
            "mdmt.data_digest": self.data_digest,
            "mdmt.group": self.group,
            "mdmt.experiment": self.experiment,
            "mdmt.backbone": self.backbone.name,
            "mdmt.weights": self.backbone.weights,
            "mdmt.scheme": self.scheme,
            "mdmt.fold": self.fold,
        }

    @property
    def params(self) -> dict[str, object]:
        """What two runs are compared by."""
        sizes = {f"films_{role}": len(self.part(role)) for role in ROLES}
        own = {
            "tasks": "+".join(self.tasks),
            "seed": self.seed,
            "size": self.size,
            "batch_norm": self.batch_norm,
            "beta": self.beta,
        }
        return self.training.model_dump(exclude={"augmentation"}) | own | sizes


class Plan(BaseModel):
    """Units in an order in which parents come first. `stores`: film store folder by cohort."""

    model_config = ConfigDict(frozen=True)

    units: tuple[Unit, ...]
    stores: dict[str, Path]

    def distinct(self) -> dict[str, Unit]:
        """Fingerprint → the first unit that has it."""
        found: dict[str, Unit] = {}
        for unit in self.units:
            found.setdefault(unit.fingerprint, unit)
        return found


def make_plan(
    recipe: Recipe, cohorts: Sequence[Cohort], stores: Mapping[str, FilmStore], schemes: Iterable[Scheme | str] | None = None,
    backbones: Sequence[BackboneChoice] | None = None, experiments: tuple[str, ...] | None = None,
) -> Plan:  # fmt: skip
    """All units of a recipe. `schemes` may hold "refit"; `backbones` and `experiments` narrow the recipe's own.

    Films that could not be prepared are no part of it. Raises LeakageError when a patient, or the same film, is on two sides of a fold.
    """
    usable = [_usable(cohort, stores[cohort.name]) for cohort in cohorts]
    digests = {(c.name, row.id): stores[c.name].entries[row.id]["digest"] for c in usable for row in c.rows}
    units: list[Unit] = []
    for scheme in schemes or recipe.schemes:
        name, folds = _folds(recipe, scheme, usable)
        assert_no_leakage(usable, folds, digests)
        for backbone in backbones or recipe.backbones:
            for fold in folds:
                units += _fold_units(recipe, experiments or recipe.experiments, backbone, name, fold, usable, stores)
    return Plan(units=tuple(units), stores={name: store.folder for name, store in stores.items()})


def _usable(cohort: Cohort, store: FilmStore) -> Cohort:
    usable = store.usable
    return Cohort(cohort.name, tuple(row for row in cohort.rows if row.id in usable))


def _folds(recipe: Recipe, scheme: Scheme | str, cohorts: Sequence[Cohort]) -> tuple[str, tuple[Fold, ...]]:
    if isinstance(scheme, str):
        return scheme, (refit(cohorts, recipe.seed, recipe.val_fraction),)
    if scheme.kind == "cv":
        return "cv", cross_validation(cohorts, scheme.folds, recipe.seed, recipe.val_fraction)
    primary = scheme.primary or cohorts[0].name
    return "loco", leave_one_centre_out(cohorts, primary, scheme.centres, recipe.seed, recipe.val_fraction)


def _fold_units(
    recipe: Recipe, experiments: tuple[str, ...], backbone: BackboneChoice, scheme: str, fold: Fold,
    cohorts: Sequence[Cohort], stores: Mapping[str, FilmStore],
) -> list[Unit]:  # fmt: skip
    made: dict[str, Unit] = {}
    for experiment in in_order(experiments):
        parents = tuple(made[parent].fingerprint for parent in experiment.parents)
        made[experiment.name] = Unit(
            experiment=experiment.name,
            backbone=backbone,
            scheme=scheme,
            fold=fold.name,
            tasks=experiment.tasks,
            parents=parents,
            beta=recipe.beta,
            batch_norm=recipe.batch_norm,
            training=recipe.training,
            seed=recipe.seed,
            size=recipe.pipeline.size,
            samples=_samples(experiment, fold, cohorts, stores),
        )
    return list(made.values())


def _samples(
    experiment: Experiment, fold: Fold, cohorts: Sequence[Cohort], stores: Mapping[str, FilmStore]
) -> tuple[Sample, ...]:
    wanted = {task.name for task in by_name(experiment.tasks)}
    samples = []
    for cohort in cohorts:
        entries = stores[cohort.name].entries
        for row in cohort.rows:
            role = fold.roles[cohort.name].get(row.id)
            labels = {name: index for name, index in row.labels.items() if name in wanted}
            if role and labels:
                entry = entries[row.id]
                samples.append(Sample(cohort.name, row.id, entry["slot"], entry["digest"], role, labels))
    return tuple(samples)
