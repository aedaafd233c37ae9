"""What a lower precision did to answers, measured on films, and whether it may be used instead of float32."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from cxr.graphs import PRECISIONS, EngineName, Precision

LEAST_FILMS = 500
LEAST_IOU = 0.99  # of every film's lungs
LARGEST_MEAN_CHANGE = 0.005  # of probabilities: a calibration error cannot move by more than they move on average


class Proof(BaseModel):
    """Answers of one precision against those of float32, film by film, both through the whole pipeline.

    `iou` compares cleaned lung masks; `flipped` counts films whose most probable class changed, by task; changes are absolute
    differences of calibrated probabilities. Where one of both found no lungs, the film counts in `verdicts`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    films: int = Field(ge=1)
    source: str
    processor: str
    engine: str
    iou_median: float = Field(ge=0, le=1)
    iou_min: float = Field(ge=0, le=1)
    verdicts: int = Field(ge=0)
    flipped: dict[str, int]
    mean_change: float = Field(ge=0, le=1)
    largest_change: float = Field(ge=0, le=1)

    def objections(self) -> tuple[str, ...]:
        """Why the precision must not be used; empty when it may be."""
        flips = sum(self.flipped.values())
        found = {
            f"measured on {self.films} films, needs {LEAST_FILMS}": self.films < LEAST_FILMS,
            f"a mask with IoU {self.iou_min:.4f}, needs {LEAST_IOU} on every film": self.iou_min < LEAST_IOU,
            f"another lung verdict on {self.verdicts} films": self.verdicts > 0,
            f"another label on {flips} films": flips > 0,
            f"probabilities {self.mean_change:.4f} away on average, at most {LARGEST_MEAN_CHANGE}": self.mean_change
            > LARGEST_MEAN_CHANGE,
        }
        return tuple(reason for reason, holds in found.items() if holds)


def usable(proofs: Mapping[Precision, Proof], engine: EngineName) -> tuple[Precision, str]:
    """The precision to serve in, and why: the first proven one that the engine computes in, else float32."""
    reasons = []
    for precision, proof in proofs.items():
        objections = proof.objections() or (() if precision in PRECISIONS[engine] else (f"{engine} does not compute in it",))
        if not objections:
            return precision, f"{precision} answers as float32 does on {proof.films} films ({proof.source})"
        reasons.append(f"not {precision}: {'; '.join(objections)}")
    return "float32", ". ".join(reasons) or "no other precision was proven when the version was registered"
