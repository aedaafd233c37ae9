"""What a lower precision of the U-Net did to answers, measured on films, and whether it may be used beside float32."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from cxr.graphs import PRECISIONS, EngineName, Precision, Way

LEAST_FILMS = 500
LEAST_IOU = 0.99  # of every film's lungs
LARGEST_MEAN_CHANGE = 0.005  # of probabilities: a calibration error cannot move by more than they move on average


class Margins(BaseModel):
    """How near to a decision a lower precision is not trusted (`cxr.close_calls`): `lungs` in probability around the threshold of the
    mask, `gate` in score below the threshold of the input gate."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lungs: float = Field(gt=0, lt=0.5)
    gate: float = Field(0, ge=0)

    def refuses(self, score: float, threshold: float) -> bool:
        """Whether a score is too near to a refusal, or is one."""
        return score > threshold - self.gate


class Proof(BaseModel):
    """Answers of one precision against those of float32, film by film, both through the whole pipeline.

    The `margins` come from `fitted` of the films; `rechecked` is the share of all on which float32 looks again, `moved` the number of
    those that would have had another crop, verdict or refusal otherwise. All that follows is what is left after that: `iou` compares
    cleaned lung masks; `flipped` counts films whose most probable class changed, by task, and `sets` those of another conformal set;
    changes are absolute differences of calibrated probabilities. `verdicts` counts films with another lung verdict or refusal.
    Proofs without margins are of the time before: all was computed in the lower precision, and nothing again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    films: int = Field(ge=1)
    source: str
    processor: str
    engine: str
    margins: Margins | None = None
    fitted: int = Field(0, ge=0)
    rechecked: float = Field(0, ge=0, le=1)
    moved: int = Field(0, ge=0)
    iou_median: float = Field(ge=0, le=1)
    iou_min: float = Field(ge=0, le=1)
    verdicts: int = Field(ge=0)
    flipped: dict[str, int]
    sets: int = Field(0, ge=0)
    mean_change: float = Field(ge=0, le=1)
    largest_change: float = Field(ge=0, le=1)

    def objections(self) -> tuple[str, ...]:
        """Why the precision must not be used; empty when it may be."""
        flips = sum(self.flipped.values())
        found = {
            "proven without margins for close calls: register the bundle again with --prove": self.margins is None,
            f"measured on {self.films} films, needs {LEAST_FILMS}": self.films < LEAST_FILMS,
            f"a mask with IoU {self.iou_min:.4f}, needs {LEAST_IOU} on every film": self.iou_min < LEAST_IOU,
            f"another verdict on {self.verdicts} films": self.verdicts > 0,
            f"another label on {flips} films": flips > 0,
            f"another conformal set on {self.sets} films": self.sets > 0,
            f"probabilities {self.mean_change:.4f} away on average, at most {LARGEST_MEAN_CHANGE}": self.mean_change
            > LARGEST_MEAN_CHANGE,
        }
        return tuple(reason for reason, holds in found.items() if holds)


def usable(proofs: Mapping[Precision, Proof], engine: EngineName) -> tuple[Precision, str]:
    """The lowest precision that may be served in, and why: the first proven one that the engine computes in, else float32."""
    reasons = []
    for precision, proof in proofs.items():
        objections = proof.objections() or (() if precision in PRECISIONS[engine] else (f"{engine} does not compute in it",))
        if not objections:
            again = f"{proof.rechecked:.0%} of them looked at again in float32"
            return precision, f"{precision} answers as float32 does on {proof.films} films ({proof.source}), {again}"
        reasons.append(f"not {precision}: {'; '.join(objections)}")
    return "float32", ". ".join(reasons) or "no other precision was proven when the version was registered"


def reason(proofs: Mapping[Precision, Proof], engine: EngineName, served: Precision) -> str:
    """Why it is `served` on that engine."""
    precision, why = usable(proofs, engine)
    return why if served == precision else f"{why}; {served} is what was asked for, or faster on this host"


def ways(proofs: Mapping[Precision, Proof], engines: Sequence[EngineName]) -> tuple[Way, ...]:
    """All that may be served with: every engine in float32, and in the precision that is `usable` on it."""
    lower = (Way(engine, usable(proofs, engine)[0]) for engine in engines)
    return (*(Way(engine, "float32") for engine in engines), *(way for way in lower if way.precision != "float32"))
