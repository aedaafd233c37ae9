"""What a search of hyper-parameters came to in one fold, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.protocol.recipe import Tuned


@dataclass(frozen=True)
class Finding:
    """`place` is subset/fold; `trials` counts by state (complete, pruned, failed); losses are means over the inner folds, `own` that of
    the recipe's settings (None: they failed)."""

    place: str
    trials: Mapping[str, int]
    best: float
    own: float | None
    tuned: Tuned
