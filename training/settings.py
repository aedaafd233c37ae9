"""How a network is trained, as a value: the numbers of section 3.2 of the paper are the defaults. No torch here: plans read this too."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
    """Optimisation, stopping and regularisation of one unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = Field((0.9, 0.999), description="of Adam; the paper's 'momentum 0.9' is the first")
    weight_decay: float = Field(1e-4, ge=0, description="Adam's L2 form")
    batch_size: int = Field(128, ge=2)
    max_epochs: int = Field(300, ge=1)
    patience: int = Field(40, ge=1, description="epochs without a lower validation loss before stopping")
    warmup_epochs: int = Field(40, ge=0, description="epochs that count neither as best nor as 'no improvement'")
    warmup: Literal["hold-off", "linear"] = Field(
        "hold-off",
        description="'hold-off': full rate from the start, what the authors' code calls warm-up; 'linear': the rate also rises",
    )
    monitor: str = Field("all", description="validation loss that decides: 'all' tasks, or one task's in units that learn it")
    reduction: Literal["sum", "mean"] = Field("sum", description="of the loss over a batch: 'sum' is equation 2")
    hidden: int = Field(128, ge=1, description="width of each head's hidden layer")
    dropout: float = Field(0.5, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the forward pass in training; evaluation is float32"
    )
    augmentation: Augmentation = Augmentation()

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch (counted from 1)."""
        if self.warmup == "linear" and epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        return self.learning_rate
