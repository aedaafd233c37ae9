"""What speaks against trusting an answer, seen on the film itself. Flags never change an answer."""

from enum import StrEnum

import numpy as np

from cxr.pipeline import Film, PipelineSpec
from cxr.segmentation import Verdict

DULL = 24.0  # deviation of the prepared film's gray values, of 0..255; 48 phantoms had 48 to 73
SATURATED = 0.25  # share of its pixels that are black or white in full; 48 phantoms had 0.05 at most


class Flag(StrEnum):
    """A closed list, so that it can be counted."""

    ONE_LUNG = "one-lung"
    LUNGS_CUT = "lungs-cut"
    ENLARGED = "enlarged"
    DULL = "dull"
    SATURATED = "saturated"


SENTENCES = {
    Flag.ONE_LUNG: "Only one lung was found. The answer rests on it alone: check that the film shows the whole chest.",
    Flag.LUNGS_CUT: "The lungs reach the edge of the film. What lies beyond it is not judged.",
    Flag.ENLARGED: "The lungs have fewer pixels than the network sees, so the film was enlarged. Send it at full resolution.",
    Flag.DULL: "The film has little contrast. Check that it is the whole exposure and not a display copy.",
    Flag.SATURATED: "Much of the lungs' box is black or white in full. Check the exposure or the window the file was exported with.",
}


def flags(film: Film, spec: PipelineSpec) -> tuple[Flag, ...]:
    """The flags of a film prepared as `spec` says, in the order of `Flag`."""
    edges = (film.lungs[0], film.lungs[-1], film.lungs[:, 0], film.lungs[:, -1])
    inside = film.pixels
    found = {
        Flag.ONE_LUNG: film.verdict is Verdict.ONE_LUNG,
        Flag.LUNGS_CUT: any(bool(edge.any()) for edge in edges),
        Flag.ENLARGED: film.box.width < inside.shape[1],
        Flag.DULL: float(inside.std()) < DULL,
        Flag.SATURATED: spec.crop == "box" and float(np.mean((inside == 0) | (inside == 255))) > SATURATED,
    }
    return tuple(flag for flag, given in found.items() if given)
