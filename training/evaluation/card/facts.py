"""What a card is filled from: the facts of one version, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxr.tasks import Task
from training.evaluation.card.judged import Judged

NOTICE = "Research use only, not a medical device."


@dataclass(frozen=True)
class CohortFacts:
    """One data set as far as the version was trained on it. `about` says what it is, in a sentence; `generated`: drawn by a computer.

    `centres` and `classes` (task → label →) count films, `told` (grouping →) the films of which the data set tells the group;
    `left_out` films are in its tables and could not be prepared or know no task of the version.
    """

    name: str
    about: str
    generated: bool
    films: int
    patients: int
    left_out: int
    centres: Mapping[str, int]
    classes: Mapping[str, Mapping[str, int]]
    told: Mapping[str, int]


@dataclass(frozen=True)
class CardFacts:
    """One version. `lines` are rows of the honest estimate: scheme, task, films, ACC, F1, G-mean, AUC as text; `films` (role →) counts the
    films of the refit; `temperatures` and `calibrated_on` (films) are by task; `size` is pixels of a side. `cut`, `start` and `loss` say in
    words what of a film the network is shown, what it started from and what was minimised; `along` are titles of tasks that it learnt
    and does not answer. Its backbone was picked among `rivals` by the metric `picked_by`."""

    name: str
    tasks: Sequence[Task]
    recipe: str
    description: str
    recipe_digest: str
    commit: str
    backbone: str
    size: int
    cut: str
    seed: int
    scheme: str
    patients: int
    films: Mapping[str, int]
    cohorts: Sequence[CohortFacts]
    temperatures: Mapping[str, float]
    calibrated_on: Mapping[str, int]
    lines: Sequence[Sequence[str]]
    judged: Sequence[Judged]
    start: str
    loss: str
    along: Sequence[str]
    rivals: int
    picked_by: str

    @property
    def generated(self) -> bool:
        """Whether no film of any patient was used."""
        return all(cohort.generated for cohort in self.cohorts)

    @property
    def centres(self) -> int:
        return sum(len(cohort.centres) for cohort in self.cohorts)

    @property
    def left_out(self) -> int:
        return sum(cohort.left_out for cohort in self.cohorts)

    @property
    def folds(self) -> int:
        return max((len(judged.folds) for judged in self.judged), default=0)

    @property
    def schemes(self) -> tuple[str, ...]:
        """Every way of dividing the films that the honest estimate has a line of."""
        return tuple(dict.fromkeys(line[0] for line in self.lines))

    @property
    def untold(self) -> tuple[str, ...]:
        """Groupings that no data set of the version tells at all."""
        told = {name for cohort in self.cohorts for name, films in cohort.told.items() if films}
        return tuple(name for name in ("sex", "age group", "view", "phase") if name not in told)
