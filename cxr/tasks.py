"""What is predicted: a Task is a value, so that a further task needs no further code.

`prognosis` is τ1 and `severity` is τ2 of the paper (section 3.1); `age` is an example of a third (docs/third-task.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Task:
    """One classification question asked of a film.

    `classes` are the labels in the order of the network's outputs. `meaning` holds one sentence per class for reports and
    answers. `positive` is the class that binary F1 and ROC-AUC count as positive (None: macro averages only). `ordinal`: the
    classes are ordered, so that how far an answer is off counts (quadratic kappa, mean absolute error). `ranges`: what each class
    stands for, first and last value, where the classes are ranges of a whole number.

    A task with a `head` has no output layer of its own but shares the one of that name with all tasks that name it: another reader's
    answer to the same question ("severity"), or the same question about another place. `zone` is that place: the answer is taken from
    zone 0..5 (A to F) of the lungs instead of the whole film, and `mirror` names the task that the film's mirror image asks.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    meaning: tuple[str, ...]
    positive: int | None = None
    ranges: tuple[tuple[int, int], ...] = field(default=())
    ordinal: bool = False
    head: str = ""
    zone: int | None = None
    mirror: str = ""

    def __post_init__(self) -> None:
        if len(self.meaning) != len(self.classes):
            raise ValueError(
                f"task {self.name!r} has {len(self.classes)} classes and {len(self.meaning)} meanings: give one each"
            )

    @property
    def output(self) -> str:
        """Name of the head that answers."""
        return self.head or self.name

    def index(self, label: str) -> int:
        """Class index of a label as data sets spell it (case and outer blanks do not matter)."""
        wanted = label.strip().upper()
        for i, name in enumerate(self.classes):
            if name.upper() == wanted:
                return i
        raise ValueError(f"{label!r} is no label of task {self.name!r}; allowed: {', '.join(self.classes)}")


PROGNOSIS = Task(
    name="prognosis",
    title="COVID-19 prognosis (τ1, AIforCOVID)",
    classes=("MILD", "SEVERE"),
    meaning=(
        "home isolation or hospitalisation without ventilatory support",
        "non-invasive ventilation, intensive care or death",
    ),
    positive=1,
)

# Equation 4 of the paper: G < 5, 5 <= G < 9, 9 <= G < 14, G >= 14 (the authors' code has other bounds, ours are the paper's).
SEVERITY_BOUNDS = (5, 9, 14)
SEVERITY = Task(
    name="severity",
    title="Severity category of the Brixia global score (τ2, BRIXIA)",
    classes=("0", "1", "2", "3"),
    meaning=("Brixia global score 0-4", "Brixia global score 5-8", "Brixia global score 9-13", "Brixia global score 14-18"),
    ranges=((0, 4), (5, 8), (9, 13), (14, 18)),
    ordinal=True,
)

AGE = Task(
    name="age",
    title="Age group at admission (AIforCOVID)",
    classes=("under-50", "50-64", "65-79", "80-and-over"),
    meaning=("younger than 50 years", "50 to 64 years old", "65 to 79 years old", "80 years or older"),
    ranges=((0, 49), (50, 64), (65, 79), (80, 120)),
    ordinal=True,
)

ZONES = tuple(
    Task(
        name=f"zone-{zone}",
        title=f"Brixia score of zone {zone.upper()}",
        classes=("0", "1", "2", "3"),
        meaning=(
            "no abnormality",
            "interstitial infiltrates",
            "interstitial, dominated by alveolar",
            "alveolar, or dominated by it",
        ),
        ordinal=True,
        head="zones",
        zone="abcdef".index(zone),
        mirror=f"zone-{mirrored}",
    )
    for zone, mirrored in zip("abcdef", "defabc", strict=True)
)
GLOBAL = Task(
    name="global",
    title="Brixia global score",
    classes=tuple(map(str, range(19))),
    meaning=tuple(f"the scores of six zones sum to {score}" for score in range(19)),
    ordinal=True,
)
SECOND = replace(SEVERITY, name="severity-second", title="Severity category by a second reader", head="severity")
SECOND_ZONES = tuple(
    replace(zone, name=f"{zone.name}-second", title=f"{zone.title} by a second reader", mirror=f"{zone.mirror}-second")
    for zone in ZONES
)

TASKS: dict[str, Task] = {task.name: task for task in (PROGNOSIS, SEVERITY, AGE, *ZONES, GLOBAL, SECOND, *SECOND_ZONES)}


def severity_bounds(bounds: Sequence[int]) -> tuple[int, int, int]:
    """Lowest global scores of categories 1, 2 and 3, checked: whole, rising, within 1..18 so that no category is empty."""
    if len(bounds) != 3 or any(type(bound) is not int for bound in bounds) or not 0 < bounds[0] < bounds[1] < bounds[2] <= 18:
        raise ValueError(
            f"severity bounds {tuple(bounds)}; allowed: three rising whole numbers of 1..18, the lowest global scores of categories "
            f"1, 2 and 3, as in {SEVERITY_BOUNDS}"
        )
    return bounds[0], bounds[1], bounds[2]


def severity_category(global_score: int, bounds: Sequence[int] = SEVERITY_BOUNDS) -> int:
    """Brixia global score (0..18) → severity category 0..3, equation 4 of the paper.

    `bounds` are the lowest scores of categories 1, 2 and 3; (5, 10, 15) are those of the authors' code.
    """
    if not 0 <= global_score <= 18:
        raise ValueError(f"Brixia global score {global_score} is outside 0..18: the sum of six zone scores of 0..3")
    return sum(global_score >= bound for bound in severity_bounds(bounds))


def age_group(years: int) -> int:
    """Completed years of age (0..120) → class of AGE."""
    for group, (low, high) in enumerate(AGE.ranges):
        if low <= years <= high:
            return group
    raise ValueError(f"an age of {years} years is outside 0..120")


def zone_scores(text: str) -> tuple[int, int, int, int, int, int]:
    """`BrixiaScore` as stored → scores of zones A-F (each 0..3).

    Spreadsheets drop leading zeros ("1" is 000001), so the digits are padded on the left to six.
    """
    digits = text.strip().strip("[]").zfill(6)
    if len(digits) != 6 or any(d not in "0123" for d in digits):
        raise ValueError(f"Brixia score {text!r} is not six digits of 0..3 (zones A-F)")
    a, b, c, d, e, f = (int(d) for d in digits)
    return a, b, c, d, e, f


def zone_labels(scores: Sequence[int], tasks: Sequence[Task] = ZONES) -> dict[str, int]:
    """Scores of zones A-F, as from `zone_scores` → the labels of the zones' tasks, here one reader's."""
    return {task.name: score for task, score in zip(tasks, scores, strict=True)}


def by_name(names: Sequence[str]) -> tuple[Task, ...]:
    """Tasks by name, in the order given."""
    for name in names:
        if name not in TASKS:
            raise ValueError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    return tuple(TASKS[name] for name in names)
