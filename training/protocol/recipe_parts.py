"""The values that a recipe is made of."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from training import own_weights


class Value(BaseModel):
    """Frozen; a key that does not exist is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CohortSource(Value):
    """A data set: `reader` is a module of `training.data.cohorts`, `path` is relative to the recipe's data folder."""

    name: str
    reader: str
    path: str
    options: dict[str, Any] = {}


class BackboneChoice(Value):
    """A backbone by name, and where it starts: "imagenet" or a set of one's own, which must be on the machine, or "scratch"."""

    name: str
    weights: Annotated[str, AfterValidator(own_weights.checked)]


class Subset(Value):
    """Part of the data that the whole protocol runs on, e.g. a release: `keep` is cohort → attribute → values that are kept.

    `at_most` is cohort → films: of what is kept, all films of as many patients as fit, in an order that is a hash of the patient, so a
    smaller subset is part of every larger one.
    """

    name: str
    keep: dict[str, dict[str, tuple[str, ...]]] = {}
    at_most: dict[str, Annotated[int, Field(ge=1)]] = {}


class Scheme(Value):
    """How films are divided: "cv" with `folds`, or "loco" leaving out each of `centres` (default: all) of cohort `primary`.

    `repeats` runs the scheme again with the next seeds, of splits and of training. `others` (of "loco"): the cohorts that have no
    centre to leave out are "dealt" into as many parts, or keep the "first" part in every fold as in the authors' code.
    `val_fraction` overrides the recipe's.
    """

    kind: Literal["cv", "loco"]
    folds: int = Field(5, ge=2)
    primary: str | None = None
    centres: tuple[str, ...] | None = None
    others: Literal["dealt", "first"] = "dealt"
    repeats: int = Field(1, ge=1)
    val_fraction: float | None = Field(None, gt=0, le=0.5)

    @model_validator(mode="after")
    def _loco_names_its_cohort(self) -> Self:
        if self.kind == "loco" and self.primary is None:
            raise ValueError("a 'loco' scheme needs `primary`: the cohort whose centres are left out")
        return self


class SegmenterChoice(Value):
    """The lung U-Net: `pairs` is a folder of image/mask pairs relative to the data folder, `preset` a set of training numbers."""

    pairs: str = "lung-masks"
    preset: Literal["demo", "real", "real-lungs", "smoke"]
