"""Recipe → units of work: a graph in which equal work exists once."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from training import imagenet, own_weights
from training.data.cohort import Cohort, Row
from training.data.films import FilmStore
from training.data.folds import Fold, assert_no_leakage
from training.data.splits import cross_validation, leave_one_centre_out, refit
from training.protocol.experiments import Experiment, in_order
from training.protocol.recipe import BackboneChoice, Recipe, RecipeError, Scheme, Subset
from training.protocol.unit import Sample, Sheet, Unit

REFIT = "refit"  # the scheme of what is served: no film is held out for testing


class Plan(BaseModel):
    """Units in an order in which parents come first. `stores`: film store folder by cohort."""

    model_config = ConfigDict(frozen=True)

    units: tuple[Unit, ...]
    stores: dict[str, Path]

    @cached_property
    def distinct(self) -> dict[str, Unit]:
        """Fingerprint → the first unit that has it."""
        found: dict[str, Unit] = {}
        for unit in self.units:
            found.setdefault(unit.fingerprint, unit)
        return found

    @cached_property
    def groups(self) -> dict[str, list[Unit]]:
        """Group → its units: the folds of one experiment."""
        found: dict[str, list[Unit]] = {}
        for unit in self.units:
            found.setdefault(unit.group, []).append(unit)
        return found

    @cached_property
    def children(self) -> dict[str, set[str]]:
        """Fingerprint → those that start from it."""
        found: dict[str, set[str]] = {}
        for fingerprint, unit in self.distinct.items():
            for parent in unit.parents:
                found.setdefault(parent, set()).add(fingerprint)
        return found


@dataclass(frozen=True)
class Division:
    """One fold of one scheme on one subset, and the films of it that know certain tasks."""

    subset: str
    scheme: str
    repeat: int
    fold: Fold
    cohorts: Sequence[Cohort]
    entries: Mapping[str, Mapping[str, Mapping[str, Any]]]
    patients: Mapping[str, int]
    _sheets: dict[frozenset[str], Sheet] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.subset}/{self.fold.name}"

    def sheet(self, tasks: Iterable[str]) -> Sheet:
        """The films that know any of the tasks. Raises RecipeError for a task that no training or no validation film knows."""
        wanted = frozenset(tasks)
        if wanted not in self._sheets:
            sheet = Sheet(samples=tuple(self._samples(wanted)))
            for role in ("train", "val"):
                known = {task for sample in sheet.samples if sample.role == role for task in sample.labels}
                if missing := sorted(wanted - known):
                    raise RecipeError(
                        f"no {role} film of {self.place} has a label of {', '.join(missing)}; the data sets are "
                        f"{', '.join(cohort.name for cohort in self.cohorts)}: leave the task out, or add a data set that has it"
                    )
            self._sheets[wanted] = sheet
        return self._sheets[wanted]

    def _samples(self, wanted: frozenset[str]) -> Iterator[Sample]:
        for cohort in self.cohorts:
            roles, entries = self.fold.roles[cohort.name], self.entries[cohort.name]
            for row in cohort.rows:
                labels = {name: index for name, index in (row.further | row.labels).items() if name in wanted}
                if labels and row.id in roles:
                    entry, patient = entries[row.id], self.patients[row.patient]
                    yield Sample(cohort.name, row.id, entry["slot"], entry["digest"], roles[row.id], patient, labels)


def make_plan(
    recipe: Recipe, cohorts: Sequence[Cohort], stores: Mapping[str, FilmStore] | None, weights: Path | None,
    schemes: Iterable[Scheme | str] | None = None, backbones: Sequence[BackboneChoice] | None = None,
    experiments: tuple[str, ...] | None = None,
) -> Plan:  # fmt: skip
    """All units of a recipe. `schemes` may hold "refit" (on the last subset); `backbones` and `experiments` narrow the recipe's own.

    `weights` is the folder of weights. Without it they are not looked at, and without `stores` nothing is prepared yet: such a
    plan is good for counting only. Films that could not be prepared are no part of it. Raises LeakageError when a patient, or the
    same film, is on two sides of a fold, and WeightsNotFound when the recipe asks for weights that are not there.
    """
    starts = {b: start_of(b, weights) for b in backbones or recipe.backbones}
    ordered = in_order(experiments or recipe.experiments, recipe.known_experiments)
    units: list[Unit] = []
    for division in divisions(recipe, cohorts, stores, schemes or recipe.schemes):
        for backbone, start in starts.items():
            units += units_of(recipe, division, backbone, start, ordered)
    return Plan(units=tuple(units), stores={name: store.folder for name, store in (stores or {}).items()})


def start_of(backbone: BackboneChoice, weights: Path | None) -> str:
    """What a unit without parents starts from: SHA-256 of its file in the folder `weights`, or a word."""
    if backbone.weights == "scratch" or not weights:
        return backbone.weights
    if backbone.weights == "imagenet":
        return imagenet.digest(backbone.name, weights)
    return own_weights.note(backbone.weights, backbone.name, weights).sha256


def units_of(
    recipe: Recipe, division: Division, backbone: BackboneChoice, start: str, ordered: Iterable[Experiment]
) -> tuple[Unit, ...]:
    """One backbone's units of one fold; of `ordered` experiments, parents first."""
    made: dict[str, Unit] = {}
    for experiment in ordered:
        made[experiment.name] = Unit(
            experiment=experiment.name,
            backbone=backbone,
            subset=division.subset,
            scheme=division.scheme,
            repeat=division.repeat,
            fold=division.fold.name,
            tasks=experiment.tasks,
            parents=tuple(made[parent].fingerprint for parent in experiment.parents),
            start=start,
            beta=recipe.beta_of(division.place),
            batch_norm=recipe.batch_norm,
            training=recipe.training_of(division.place, experiment.name),
            seed=recipe.seed + division.repeat,
            size=recipe.pipeline.size,
            device=recipe.device,
            threads=recipe.threads,
            gpus_per_unit=recipe.gpus_per_unit,
            sheet=division.sheet(experiment.tasks),
        )
    return tuple(made.values())


def divisions(
    recipe: Recipe, cohorts: Sequence[Cohort], stores: Mapping[str, FilmStore] | None, schemes: Iterable[Scheme | str]
) -> Iterator[Division]:
    """Every fold of every scheme on every subset, checked for leakage (see `make_plan`)."""
    entries: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    for cohort in cohorts:
        counted = {row.id: {"slot": i, "digest": f"{cohort.name}/{row.id}"} for i, row in enumerate(cohort.rows)}
        entries[cohort.name] = counted if stores is None else stores[cohort.name].usable
    digests = {(name, row): str(entry["digest"]) for name, rows in entries.items() for row, entry in rows.items()}
    patients = {key: i for i, key in enumerate(sorted({row.patient for cohort in cohorts for row in cohort.rows}))}
    schemes = tuple(schemes)
    for subset in recipe.subsets:
        kept = [
            _first(subset, Cohort(c.name, tuple(r for r in c.rows if r.id in entries[c.name] and _keeps(subset, c, r))))
            for c in cohorts
        ]
        if empty := [cohort.name for cohort in kept if not cohort.rows]:
            rule = f"keeps {subset.keep or 'all'}, at most {subset.at_most or 'all'}"
            raise RecipeError(f"subset {subset.name!r} leaves no film of {', '.join(empty)}: it {rule}")
        for scheme in schemes:
            if scheme == REFIT and subset != recipe.subsets[-1]:
                continue
            name = scheme if isinstance(scheme, str) else scheme.kind
            for repeat in range(1 if isinstance(scheme, str) else scheme.repeats):
                folds = _folds(recipe, scheme, kept, recipe.seed + repeat)
                assert_no_leakage(kept, folds, digests if stores is not None else None)
                for fold in folds:
                    yield Division(subset.name, name, repeat, fold, kept, entries, patients)


def _keeps(subset: Subset, cohort: Cohort, row: Row) -> bool:
    rules = subset.keep.get(cohort.name, {})
    for attribute, values in rules.items():
        if attribute not in row.attributes:
            raise RecipeError(
                f"subset {subset.name!r} asks for {attribute!r} of {cohort.name}, which row {row.id} does not have; "
                f"it has: {', '.join(sorted(row.attributes)) or 'no attributes'}"
            )
        if row.attributes[attribute] not in values:
            return False
    return True


def _first(subset: Subset, cohort: Cohort) -> Cohort:
    """All films of as many patients as `subset.at_most` has room for; the cohort's order stays."""
    room = subset.at_most.get(cohort.name)
    if room is None:
        return cohort
    films = Counter(row.patient for row in cohort.rows)
    chosen: set[str] = set()
    for patient in sorted(films, key=lambda patient: hashlib.sha256(patient.encode()).digest()):
        if films[patient] > room:
            break
        chosen.add(patient)
        room -= films[patient]
    return Cohort(cohort.name, tuple(row for row in cohort.rows if row.patient in chosen))


def _folds(recipe: Recipe, scheme: Scheme | str, cohorts: Sequence[Cohort], seed: int) -> tuple[Fold, ...]:
    if isinstance(scheme, str):
        return (refit(cohorts, seed, recipe.val_fraction),)
    val_fraction = scheme.val_fraction or recipe.val_fraction
    if scheme.kind == "cv":
        return cross_validation(cohorts, scheme.folds, seed, val_fraction)
    primary = scheme.primary or cohorts[0].name
    return leave_one_centre_out(cohorts, primary, scheme.centres, seed, val_fraction, scheme.others)
