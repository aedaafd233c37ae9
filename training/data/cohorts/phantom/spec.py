"""What a phantom cohort is made of: one frozen value that decides every byte written."""

import hashlib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

RENDERER = 1  # raise it when the drawing changes: folders made by an older renderer are then made again


class PhantomSpec(BaseModel):
    """The sizes of the published cohorts by default; `small()` is what two cores make in a minute.

    `pixels` bounds both sides of every film. `canvas` is the side of the square the anatomy is drawn on before it is resampled to
    the detector. `loading` is the correlation of each zone's latent opacity with the patient's severity, `link` the log odds of
    SEVERE per standard deviation of severity (see `severity`); with a link of 0 the outcome depends on the centre alone, and films
    tell nothing about it. `films_per_subject` and `follow_up` (the correlation of severity between two films of one subject)
    concern the severity cohort; the prognosis cohort has one film per patient.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prognosis_films: int = Field(1586, ge=9)
    severity_films: int = Field(4707, ge=1)
    lung_pairs: int = Field(600, ge=0)
    held_out_films: int = Field(4, ge=2)
    pixels: tuple[int, int] = (1000, 2000)
    canvas: int = Field(768, ge=128, le=2048, multiple_of=8)
    loading: float = Field(0.8, gt=0, lt=1)
    link: float = Field(2.0, ge=0, le=20)
    films_per_subject: float = Field(2.0, ge=1)
    follow_up: float = Field(0.75, ge=0, le=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _pixels_are_a_range(self) -> Self:
        low, high = self.pixels
        if not 64 <= low <= high <= 4096:
            raise ValueError(f"pixels={self.pixels} is not a range within 64..4096: give (shortest side, longest side)")
        return self

    @classmethod
    def small(cls, **changes: Any) -> Self:
        """A cohort for a demonstration: about 860 films of 480 to 800 pixels."""
        sizes = {"prognosis_films": 300, "severity_films": 400, "lung_pairs": 160, "pixels": (480, 800), "canvas": 464}
        return cls(**{**sizes, **changes})

    def digest(self) -> str:
        """SHA-256 of the values and of the renderer's version, in hexadecimal."""
        return hashlib.sha256(f"renderer {RENDERER} {self.model_dump_json()}".encode()).hexdigest()
