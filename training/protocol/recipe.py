"""A recipe: the whole protocol as one frozen, validated value. A key that does not exist is an error that names it."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from cxr.pipeline import PipelineSpec
from cxr.tasks import TASKS
from training.protocol.experiments import EXPERIMENTS, Experiment, in_order
from training.protocol.recipe_parts import BackboneChoice, CohortSource, Scheme, SegmenterChoice, Subset, Value
from training.settings import Training

RECIPES = (
    "demo",
    "paper",
    "authors-code",
    "real-cxr",
    "real",
    "real-lungs",
    "phantom-severity",
    "phantom-zones",
    "real-severity",
    "real-prognosis",
    "smoke",
    "link",
    "link-cut",
    "sample-size",
)
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # of what MLflow and folders are to call by it
SERVED = "mdmt"  # the experiment whose refit is registered


class RecipeError(ValueError):
    """A recipe that is unknown or does not hold together."""


class Tuned(Value):
    """What a search found for one fold, without its test films: changes to `training`, and `beta`."""

    training: dict[str, Any] = Field({})
    beta: float | None = Field(None, ge=0, le=1)


class Running(Value):
    """How the work is done, not what comes out: none of these changes a result or a fingerprint.

    `attempts`: failures of a unit (exception, killed, hang, segfault) before it is quarantined. `silence_minutes`: a worker that says
    nothing for so long hangs. `keep_weights`: of "all" units for ever, or only while they are "needed" by units that start from them.
    `pictures`: plots of every unit, of groups of folds only, or none. `lease_seconds`: a unit whose runner is silent for so long is free.
    `free_gib`: no unit starts with less disk than this. `units_per_gpu`: small units that train side by side on one GPU, or "measured":
    as `mdmt sharing` found; without a meaning on a CPU.
    """

    attempts: int = Field(3, ge=1)
    silence_minutes: float = Field(60, gt=0)
    keep_weights: Literal["all", "needed"] = "all"
    pictures: Literal["units", "groups", "none"] = "units"
    lease_seconds: float = Field(60, ge=1)
    free_gib: float = Field(2, ge=0)
    units_per_gpu: Annotated[int, Field(ge=1)] | Literal["measured"] = 1

    @property
    def sharers(self) -> int:
        """`units_per_gpu` as executors see it. ValueError for "measured", which a study has to settle first."""
        if self.units_per_gpu == "measured":
            raise ValueError("units_per_gpu 'measured' is no number: pass what was measured (protocol.sharing.units_per_gpu)")
        return self.units_per_gpu


class Recipe(Value):
    """Everything a study is made of. Two equal recipes give equal numbers on the same machine and data.

    `data` lists the folders where the data may be, the first that exists is used (`--data` overrides them all).
    `own_experiments` adds to the experiments that `experiments` may name. `batch_norm`: what becomes of BatchNorm statistics when STL
    backbones are averaged ("average" them too, "reestimate" them on the unit's training films, or keep the "initial" ones as the
    authors' code does). `pick`: the backbone that is refitted and registered has the highest mean of this metric of task `headline`
    over the folds of the first scheme and the last subset. `threads` of a unit on a CPU are part of its result: sums are rounded in
    another order. `tuned`: subset/fold → what `mdmt tune` found for it. `evidence`: the module of `training.evidence` that says what the
    study has shown (docs/evidence.md). Without `experiments` nothing but U-Net and films is made, which only `evidence` can show.

    `gpus_per_unit` above 1: so many processes train one unit, each on a GPU and on its part of every batch (`learning/distributed.py`).
    Batches, learning rate and loss stay those of one process. BatchNorm sees whole batches (SyncBatchNorm). With device "cpu" these
    are processes of `threads` threads without a GPU, where BatchNorm sees each process's part and averages its running statistics.
    """

    name: str
    description: str
    data: tuple[str, ...]
    cohorts: tuple[CohortSource, ...]
    headline: str = "prognosis"
    segmenter: SegmenterChoice
    pipeline: PipelineSpec = PipelineSpec()
    backbones: tuple[BackboneChoice, ...]
    experiments: tuple[str, ...] = tuple(EXPERIMENTS)
    own_experiments: tuple[Experiment, ...] = ()
    subsets: tuple[Subset, ...] = Field((Subset(name="all"),), min_length=1)
    schemes: tuple[Scheme, ...] = Field(min_length=1)
    val_fraction: float = Field(0.25, gt=0, le=0.5, description="share of the films outside test that validate")
    training: Training = Training()
    batch_norm: Literal["average", "reestimate", "initial"] = "average"
    beta: float = Field(0.5, ge=0, le=1, description="weight of the first parent's backbone in the average that MDMT starts from")
    tuned: dict[str, Tuned] = Field({})
    pick: Literal["acc", "f1", "gmean", "auc"] = "auc"
    seed: int = Field(0, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1)
    gpus_per_unit: int = Field(1, ge=1, le=16)
    registered_name: str = Field("mdmt", pattern=NAME)
    evidence: Literal["lungs", "severity", "prognosis", "served", "films"] | None = None
    running: Running = Running()

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        in_order(self.experiments, self.known_experiments)
        if not self.experiments and self.evidence is None:
            raise ValueError(
                f"no experiments and no evidence: nothing would come of it. Name experiments of {', '.join(self.known_experiments)}, or "
                "set evidence"
            )
        names = [cohort.name for cohort in self.cohorts]
        for scheme in self.schemes:
            if scheme.primary is not None and scheme.primary not in names:
                raise ValueError(
                    f"scheme {scheme.kind!r} leaves centres of {scheme.primary!r} out, which is no cohort of {names}"
                )
        for subset in self.subsets:
            if unknown := sorted({*subset.keep, *subset.at_most} - set(names)):
                raise ValueError(f"subset {subset.name!r} keeps parts of {unknown}, which are no cohorts of {names}")
        for what, all_names in (
            ("subsets", [s.name for s in self.subsets]),
            ("backbones", [f"{b.name}-{b.weights}" for b in self.backbones]),
            ("schemes", [s.kind for s in self.schemes]),  # a fold is known by subset, kind and name
        ):
            if twice := sorted({name for name in all_names if all_names.count(name) > 1}):
                raise ValueError(f"{what} listed twice: {', '.join(twice)}")
        if self.training.monitor not in ("all", *TASKS):
            raise ValueError(f"monitor {self.training.monitor!r} is neither 'all' nor a task; known: {', '.join(TASKS)}")
        if self.headline not in TASKS:
            raise ValueError(f"headline {self.headline!r} is no task; known: {', '.join(TASKS)}")
        if self.tuned and any(scheme.repeats > 1 for scheme in self.schemes):
            raise ValueError(
                "`tuned` names folds, and with repeats several have one name: what was found for one would reach folds that test its "
                "films. Use schemes with 1 repeat"
            )
        for place in ("", *self.tuned):
            for experiment in in_order(self.experiments, self.known_experiments):
                self.training_of(place, experiment.name)
        return self

    @model_validator(mode="after")
    def _lungs_are_drawn(self) -> Self:
        pooling = [self.training.pooling, *(one.training.get("pooling") for one in self.own_experiments)]
        lungs = next((one for one in pooling if one not in (None, "everywhere")), None)
        if lungs and self.pipeline.crop != "masked":
            raise ValueError(
                f"pooling {lungs!r} on films with crop {self.pipeline.crop!r}, where nothing tells the lungs from the rest: "
                "set pipeline.crop to 'masked', or pooling to 'everywhere'"
            )
        return self

    @model_validator(mode="after")
    def _gpus_have_work(self) -> Self:
        least = 2 * self.gpus_per_unit
        for training in (self.training, *(self.training_of(place) for place in self.tuned)):
            if training.batch_size < least:
                raise ValueError(
                    f"batch_size {training.batch_size} leaves fewer than 2 films to each of gpus_per_unit = {self.gpus_per_unit} "
                    f"processes: use a batch_size of {least} or more, or fewer GPUs"
                )
        if self.gpus_per_unit > 1 and self.running.units_per_gpu != 1:
            raise ValueError(
                f"gpus_per_unit = {self.gpus_per_unit} and running.units_per_gpu = {self.running.units_per_gpu}: a unit has several "
                "GPUs, or a GPU several units; set one of them to 1"
            )
        return self

    @cached_property
    def known_experiments(self) -> Mapping[str, Experiment]:
        """The paper's experiments and the recipe's own, by name."""
        return EXPERIMENTS | {experiment.name: experiment for experiment in self.own_experiments}

    @property
    def served_group(self) -> tuple[str, str, str]:
        """Experiment, subset and scheme whose folds decide what is served, and speak for it."""
        return SERVED, self.subsets[-1].name, self.schemes[0].kind

    @property
    def answers(self) -> tuple[str, ...]:
        """Tasks that what is served answers."""
        served = self.known_experiments[SERVED]
        return served.answers or served.tasks

    def training_of(self, place: str, experiment: str = "") -> Training:
        """Training settings of one subset/fold: the recipe's, with what was tuned for it, with the experiment's own.

        Raises ValidationError naming the field.
        """
        tuned = self.tuned[place].training if place in self.tuned else {}
        own = self.known_experiments[experiment].training if experiment else {}
        augmentation = self.training.augmentation.model_dump() | tuned.get("augmentation", {}) | own.get("augmentation", {})
        return Training.model_validate(self.training.model_dump() | tuned | own | {"augmentation": augmentation})

    def beta_of(self, place: str) -> float:
        tuned = self.tuned.get(place, Tuned()).beta
        return self.beta if tuned is None else tuned

    def digest(self) -> str:
        """SHA-256 over all fields that decide results; the order of keys does not matter."""
        deciding = self.model_dump(mode="json", exclude={"running"}) | {"training": self.training.deciding()}
        for experiment in deciding["own_experiments"]:
            for name in ("training", "answers"):
                if not experiment[name]:
                    del experiment[name]  # as below
        if self.gpus_per_unit == 1:
            del deciding["gpus_per_unit"]  # recipes from before there was a choice keep their digest
        for subset in deciding["subsets"]:
            if not subset["at_most"]:
                del subset["at_most"]
        del deciding["evidence"]  # what is shown of the results decides none of them
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def load_recipe(name: str) -> Recipe:
    """A shipped recipe by name, a variant as "<name>+<variant>", or any recipe from a JSON file. RecipeError names what is wrong."""
    base, _, variant = name.partition("+")
    if base in RECIPES:
        module = import_module(f"training.protocol.recipes.{base.replace('-', '_')}")
        if not variant:
            shipped: Recipe = module.recipe()
            return shipped
        known = variants(base)
        if variant not in known:
            raise RecipeError(f"recipe {base!r} has no variant {variant!r}; it has: {', '.join(known) or 'none'}")
        return known[variant]
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        raise RecipeError(f"no recipe {name!r}; shipped: {', '.join(RECIPES)}, or give the path of a .json file")
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()]
        fields = f"\nfields of a recipe: {', '.join(Recipe.model_fields)}"
        raise RecipeError(f"{path.name} is not a recipe:\n  " + "\n  ".join(lines) + fields) from error


def variants(base: str) -> dict[str, Recipe]:
    """The variants of a shipped recipe by name: the same study on other films or from another start. Other recipes have none."""
    if base not in RECIPES:
        return {}
    module = import_module(f"training.protocol.recipes.{base.replace('-', '_')}")
    found: dict[str, Recipe] = module.variants() if hasattr(module, "variants") else {}
    return found


def find_data(recipe: Recipe, given: Path | None) -> Path:
    """The data folder: `given`, else the first of the recipe's own that exists. Raises RecipeError listing the places looked at."""
    places = [given] if given else [Path(place) for place in recipe.data]
    for place in places:
        if place.is_dir():
            return place
    raise RecipeError(f"no data for recipe {recipe.name!r} in {', '.join(str(p) for p in places)}: give its folder with --data")
