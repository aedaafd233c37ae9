"""A recipe: the whole protocol as one frozen, validated value. A key that does not exist is an error that names it."""

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cxr.pipeline import PipelineSpec
from cxr.tasks import TASKS
from training.protocol.experiments import EXPERIMENTS
from training.settings import Training

RECIPES = ("demo", "real-cxr", "smoke")


class RecipeError(ValueError):
    """A recipe that is unknown or does not hold together."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CohortSource(_Value):
    """A data set: `reader` is a module of `training.data.cohorts`, `path` is relative to the recipe's data folder."""

    name: str
    reader: str
    path: str
    options: dict[str, Any] = {}


class BackboneChoice(_Value):
    """A backbone by name, and where it starts: "imagenet" is refused when there are no such weights on the machine."""

    name: str
    weights: Literal["imagenet", "scratch"]


class Scheme(_Value):
    """How films are divided: "cv" with `folds`, or "loco" leaving out each of `centres` (default: all) of cohort `primary`."""

    kind: Literal["cv", "loco"]
    folds: int = Field(5, ge=2)
    primary: str | None = None
    centres: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _loco_names_its_cohort(self) -> "Scheme":
        if self.kind == "loco" and self.primary is None:
            raise ValueError("a 'loco' scheme needs `primary`: the cohort whose centres are left out")
        return self


class SegmenterChoice(_Value):
    """The lung U-Net: `pairs` is a folder of image/mask pairs relative to the data folder, `preset` a set of training numbers."""

    pairs: str = "lung-masks"
    preset: Literal["demo", "real", "smoke"]


class Recipe(_Value):
    """Everything a study is made of. Two equal recipes give equal numbers on the same machine and data.

    `data` lists the folders where the data may be, the first that exists is used (`--data` overrides them all).
    `batch_norm`: what becomes of BatchNorm statistics after averaging the two STL backbones ("average" them, or "reestimate" them on
    the unit's training films). `pick`: the backbone that is refitted and registered has the highest mean of this metric of
    task `headline` over the folds of the first scheme.
    """

    name: str
    description: str
    data: tuple[str, ...]
    cohorts: tuple[CohortSource, ...]
    headline: str = "prognosis"
    segmenter: SegmenterChoice
    pipeline: PipelineSpec = PipelineSpec()
    backbones: tuple[BackboneChoice, ...]
    experiments: tuple[str, ...] = ("stl-prognosis", "stl-severity", "ft", "mdmt")
    schemes: tuple[Scheme, ...]
    val_fraction: float = Field(0.25, gt=0, le=0.5, description="share of the films outside test that validate")
    training: Training = Training()
    batch_norm: Literal["average", "reestimate"] = "reestimate"
    beta: float = Field(0.5, ge=0, le=1, description="weight of the first task's backbone in the average that MDMT starts from")
    pick: Literal["acc", "f1", "gmean", "auc"] = "auc"
    seed: int = Field(0, ge=0)
    registered_name: str = "mdmt"

    @model_validator(mode="after")
    def _holds_together(self) -> "Recipe":
        if unknown := [e for e in self.experiments if e not in EXPERIMENTS]:
            raise ValueError(f"unknown experiments {unknown}; known: {', '.join(EXPERIMENTS)}")
        names = [cohort.name for cohort in self.cohorts]
        for scheme in self.schemes:
            if scheme.primary is not None and scheme.primary not in names:
                raise ValueError(
                    f"scheme {scheme.kind!r} leaves centres of {scheme.primary!r} out, which is no cohort of {names}"
                )
        if self.training.monitor not in ("all", *TASKS):
            raise ValueError(f"monitor {self.training.monitor!r} is neither 'all' nor a task; known: {', '.join(TASKS)}")
        if self.headline not in TASKS:
            raise ValueError(f"headline {self.headline!r} is no task; known: {', '.join(TASKS)}")
        return self

    def digest(self) -> str:
        """SHA-256 over all fields; the order of keys does not matter."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def load_recipe(name: str) -> Recipe:
    """A shipped recipe by name, or any recipe from a JSON file. Raises RecipeError naming what is wrong."""
    if name in RECIPES:
        recipe: Recipe = import_module(f"training.protocol.recipes.{name.replace('-', '_')}").recipe()
        return recipe
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        raise RecipeError(f"no recipe {name!r}; shipped: {', '.join(RECIPES)}, or give the path of a .json file")
    try:
        return Recipe.model_validate_json(path.read_bytes())
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()]
        known = f"\nfields of a recipe: {', '.join(Recipe.model_fields)}"
        raise RecipeError(f"{path.name} is not a recipe:\n  " + "\n  ".join(lines) + known) from error


def find_data(recipe: Recipe, given: Path | None) -> Path:
    """The data folder: `given`, else the first of the recipe's own that exists. Raises RecipeError listing the places looked at."""
    places = [given] if given else [Path(place) for place in recipe.data]
    for place in places:
        if place.is_dir():
            return place
    raise RecipeError(f"no data for recipe {recipe.name!r} in {', '.join(str(p) for p in places)}: give its folder with --data")
