"""How a network is trained, as a value: the numbers of section 3.2 of the paper are the defaults. No torch here: plans read this too."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from cxr.host import instructions
from cxr.tasks import TASKS
from training.data.lung_pairs import BEHIND_HEART


class Augmentation(BaseModel):
    """Largest strength of each variation of a training film; 0 switches it off.

    `probability` is that of each being applied. Shift, zoom, rotation, flip and elastic deformation are the authors'; contrast and
    brightness are ours, because centres differ in exposure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    probability: float = Field(0.5, ge=0, le=1)
    shift: float = Field(0.1, ge=0, le=0.5, description="share of the film's side")
    zoom: float = Field(0.1, ge=0, le=0.5, description="share")
    degrees: float = Field(10.0, ge=0, le=45, description="rotation to either side")
    flip: bool = Field(True, description="left to right: half of the films, whatever `probability` is")
    elastic: float = Field(0.02, ge=0, le=0.1, description="displacement of control points, share of the side")
    contrast: float = Field(0.2, ge=0, le=1, description="share")
    brightness: float = Field(0.1, ge=0, le=1, description="share of the full range")


class Training(BaseModel):
    """Optimisation, stopping and regularisation of one unit. What the paper says is the default; what only the authors' code does is
    said to be theirs. `task_weighting`, `mixing` and `squared_error` act in networks of several tasks and leave others as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = Field((0.9, 0.999), description="of Adam; the paper's 'momentum 0.9' is the first")
    weight_decay: float = Field(1e-4, ge=0, description="Adam's L2 form")
    batch_size: int = Field(128, ge=2)
    accumulate: int = Field(
        1,
        ge=1,
        description="parts a batch is computed in, gradients added, for small devices; BatchNorm then sees a part at a time",
    )
    max_epochs: int = Field(300, ge=1)
    patience: int = Field(40, ge=1, description="epochs without a lower validation loss before stopping")
    warmup_epochs: int = Field(40, ge=0, description="epochs that count neither as best nor as 'no improvement'")
    warmup: Literal["hold-off", "linear"] = Field(
        "hold-off",
        description="'hold-off': full rate from the start, what the authors' code calls warm-up; 'linear': the rate also rises",
    )
    monitor: str = Field("all", description="validation loss that decides: 'all' tasks, or one task's in units that learn it")
    schedule: Literal["constant", "plateau"] = Field(
        "constant",
        description="of the learning rate; 'plateau' (authors' code) lowers it when the sum of all tasks' losses stalls",
    )
    plateau_factor: float = Field(0.65, gt=0, lt=1, description="the authors' of τ2 and MDMT; their STL of τ1 has 0.75")
    plateau_patience: int = Field(15, ge=0, description="epochs without a total loss lower by 1e-4 of itself, before each fall")
    plateau_minimum: float = Field(1e-8, ge=0, description="the learning rate never falls below this")
    reduction: Literal["sum", "mean"] = Field(
        "sum", description="of the loss over a batch: 'sum' is equation 2, 'mean' the authors'"
    )
    squared_error: tuple[str, ...] = Field(
        (), description="tasks with squared error of the outputs to one-hot instead of cross-entropy: τ1 in the authors' MDMT"
    )
    ranked: tuple[str, ...] = Field(
        (),
        description="ordinal tasks with the ranked probability score (Epstein, 1969) instead of cross-entropy: how far off counts",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of cross-entropy in training; not in validation")
    task_weighting: Literal["equal", "uncertainty", "sample-count"] = Field(
        "equal",
        description="of the tasks' losses; 'uncertainty': learned (Kendall, Gal and Cipolla 2018); "
        "'sample-count': inverse to a task's number of training films, 1 where these are equal",
    )
    mixing: Literal["shuffled", "balanced"] = Field(
        "shuffled",
        description="of data sets in a batch; 'balanced': all tasks alike, the smaller set's films repeated in an epoch",
    )
    hidden: int = Field(128, ge=1, description="width of each head's hidden layer")
    dropout: float = Field(0.5, ge=0, lt=1)
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "float32",
        description="of the forward pass in training; evaluation is float32. 'auto': what was fastest when first measured on this kind "
        "of machine, so results depend on it",
    )
    compile: bool = Field(False, description="torch.compile with CUDA graphs; needs a GPU")
    tf32: bool = Field(False, description="NVIDIA's shortened float32 in products and convolutions; needs a GPU")
    deterministic: bool = Field(False, description="on a GPU only kernels that give equal bits every time; a CPU always does")
    normalisation: Literal["backbone", "none"] = Field(
        "backbone", description="of films in [0, 1]; 'none': left so, as the authors' τ2 and MDMT runs lack a normalisation"
    )
    channels: Literal["gray", "scrambled"] = Field(
        "gray", description="'scrambled': the authors' reshape of S×S×3 to 3×S×S, a defect kept for comparison"
    )
    pooling: Literal["everywhere", "lungs", "zones"] = Field(
        "everywhere",
        description="places of the last map that heads are given the mean of; 'zones': those of the lungs, with each of the six zones "
        "looked at alone and close up. 'lungs' and 'zones' need films with crop 'masked'",
    )
    averaging: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share that a moving average of the weights keeps of itself in each step; it is then what is validated and kept. "
        "0: there is none",
    )
    augmentation: Augmentation = Augmentation()
    test_views: int = Field(
        1, ge=1, le=32, description="views of a film whose logits are averaged in evaluation; 1: the film itself"
    )

    @model_validator(mode="after")
    def _parts_hold_two_films(self) -> Self:
        if self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"accumulate = {self.accumulate} cuts a batch_size of {self.batch_size} into parts of fewer than the 2 films that "
                f"BatchNorm needs: use at most {self.batch_size // 2}"
            )
        return self

    @field_validator("squared_error", "ranked")
    @classmethod
    def _known_tasks(cls, tasks: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        allowed = [name for name, task in TASKS.items() if task.ordinal or info.field_name == "squared_error"]
        for name in tasks:
            if name not in allowed:
                raise ValueError(f"{info.field_name} names {name!r}; allowed: {', '.join(allowed)}")
        return tasks

    def deciding(self) -> dict[str, Any]:
        """All settings as JSON values, without those that came later and are off: what was made before them keeps its digest."""
        settings = self.model_dump(mode="json")
        for name in ("ranked", "test_views", "pooling", "averaging"):
            if getattr(self, name) == type(self).model_fields[name].default:
                del settings[name]
        return settings

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch (counted from 1)."""
        if self.warmup == "linear" and epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        return self.learning_rate


@dataclass(frozen=True)
class SegmenterSettings:
    """All that decides the result, with the pairs and the kind of CPU.

    `definition` is the kind of lung that is exported and that chooses the best epoch. `channels` per level, each level half the
    size of the one before; `size` in pixels must be divisible by 2 to the power of the levels. `bfloat16` trains in half precision;
    validation, test and export stay float32. `odd` is the share of training films shown inverted, turned, cut or as if taken in bed.
    """

    definition: str = BEHIND_HEART
    epochs: int = 60
    batch: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    size: int = 256
    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    bfloat16: bool = False
    odd: float = 0.0
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        unit = 2 ** len(self.channels)
        if self.size % unit:
            raise ValueError(f"size {self.size} does not divide by {unit}, as {len(self.channels)} levels need; try {unit * 4}")
        if self.epochs < 1 or self.batch < 2:
            raise ValueError(f"found {self.epochs} epochs, batch {self.batch}; at least 1 epoch and 2 films per batch are needed")
        if not 0 <= self.odd <= 1:
            raise ValueError(f"odd is a share of films, 0 to 1; found {self.odd}")

    @classmethod
    def real(cls, **changes: Any) -> Self:
        """For some hundred hand-drawn pairs.

        On 493 real pairs (346 train, 74 val, 73 test; two cores, AMX): test Dice 0.951 mean, 0.959 median, 0.789 worst including
        the part behind the heart (n = 45; two humans agree by 0.949 in the median) and 0.978, 0.980, 0.957 without the heart
        (n = 28, JSRT), in 454 seconds and 677 CPU seconds (`mdmt segmenter train --recipe real-cxr`).
        """
        return cls(**({"epochs": 40, "bfloat16": fast_bfloat16()} | changes))

    @classmethod
    def real_lungs(cls, **changes: Any) -> Self:
        """The same with odd films among them. Not better on the same pairs: validation Dice 0.955 instead of 0.957, test Dice 0.943
        mean, 0.704 worst (n = 45), 0.975 without the heart (n = 28), in 1,246 CPU seconds beside other work."""
        return cls.real(**({"odd": 0.25} | changes))

    @classmethod
    def demo(cls, **changes: Any) -> Self:
        """For some hundred phantom pairs.

        On 160 pairs of 480 to 800 pixels (112 train, 24 val, 24 test; two cores, AMX): test Dice 0.979 mean, 0.981 median, 0.955
        worst in 54 seconds, 78 CPU seconds (`mdmt segmenter train --recipe demo`). With 20 epochs 0.985 mean.
        """
        return cls(**({"epochs": 14, "bfloat16": fast_bfloat16()} | changes))


def fast_bfloat16() -> bool:
    """Whether half precision pays here. Time per step against float32: 0.6 with AMX, 2 with AVX-512, 7 with AVX2 alone.

    Read from the kernel, not from torch: whoever only asks whether a U-Net is trained already should not have to import torch.
    """
    return "amx_bf16" in instructions()
