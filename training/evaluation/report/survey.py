"""Results put in order: groups of folds, what is complete, what may be compared with what."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from cxr.tasks import TASKS
from training.evaluation.metrics import Predictions, films_of, mean_and_sd, pooled
from training.evaluation.results import Results, UnitResult

EXPERIMENTS = ("stl-prognosis", "stl-severity", "ft", "ft-severity", "mdmt")
SCHEMES = ("cv", "loco")
OURS = "mdmt"


class ReportError(ValueError):
    """Results of which no report can be made."""


@dataclass(frozen=True)
class Group:
    """The folds (and repeats) of one experiment × backbone × subset × scheme × task, by repeat and fold."""

    units: tuple[UnitResult, ...]

    @property
    def first(self) -> UnitResult:
        return self.units[0]

    @property
    def label(self) -> str:
        return label(self.first)

    @cached_property
    def measured(self) -> tuple[UnitResult, ...]:
        return tuple(unit for unit in self.units if unit.state == "finished" and unit.test is not None)

    @property
    def complete(self) -> bool:
        return len(self.measured) == len(self.units)

    @property
    def lack(self) -> str:
        """Why the group is not complete, in words; "" when it is."""
        states = [
            unit.state if unit.test is not None or unit.state != "finished" else "without test films" for unit in self.units
        ]
        parts = [f"{states.count(s)} {s}" for s in ("quarantined", "missing", "without test films") if s in states]
        return f"{' and '.join(parts)} of {len(states)} folds" if parts else ""

    def values(self, metric: str) -> list[float]:
        """One value per measured fold that has the metric."""
        return [unit.figures[metric] for unit in self.measured if metric in unit.figures]

    def mean_and_sd(self, metric: str) -> tuple[float, float] | None:
        """Over folds; None where no fold has the metric."""
        values = self.values(metric)
        return mean_and_sd(values) if values else None

    def pooled(self, scaled: bool = False) -> Predictions:
        """All test films of the first repeat (further repeats ask about the same films again); `scaled` by each fold's temperature."""
        return pooled([unit.answers(scaled) for unit in self._first_repeat])

    @property
    def films(self) -> int:
        """How many films these are."""
        return films_of([unit.answers() for unit in self._first_repeat])

    @property
    def _first_repeat(self) -> list[UnitResult]:
        first = min(unit.repeat for unit in self.measured)
        return [unit for unit in self.measured if unit.repeat == first]


def label(unit: UnitResult) -> str:
    """The backbone's name, marked when it did not start from ImageNet."""
    return unit.backbone if unit.weights == "imagenet" else f"{unit.backbone} ({unit.weights})"


def contestants(task: str) -> tuple[str, str, str]:
    """Single-task learning, fine-tuning and MDMT of a task, as the paper compares them."""
    return f"stl-{task}", "ft" if task == "prognosis" else f"ft-{task}", OURS


class Survey:
    """Groups by (experiment, label of the backbone, subset, scheme, task), whatever the order of the units.

    Raises ReportError without units, for a unit that is given twice, for an unknown task, and when nothing is of the headline task.
    """

    def __init__(self, results: Results) -> None:
        _check(results)
        self.results, self.headline = results, results.headline
        members: dict[tuple[str, ...], list[UnitResult]] = {}
        for unit in sorted(results.units, key=lambda u: (u.backbone, u.weights, u.repeat, u.fold)):
            members.setdefault((unit.experiment, label(unit), unit.subset, unit.scheme, unit.task), []).append(unit)
        self.groups = {key: Group(tuple(units)) for key, units in members.items()}
        self.titles = {unit.experiment: unit.title for unit in results.units}
        self.experiments = _ordered((u.experiment for u in results.units), EXPERIMENTS)
        self.schemes = _ordered((u.scheme for u in results.units), SCHEMES)
        self.tasks = _ordered((u.task for u in results.units), (results.headline,))
        self.backbones = _ordered((label(u) for u in results.units), ())
        self.subsets = self._subsets()

    def _subsets(self) -> tuple[str, ...]:
        """The one with most films first: it is the one that the paper prints."""
        films: dict[str, set[str]] = {unit.subset: set() for unit in self.results.units}
        for unit in self.results.units:
            if unit.task == self.headline and unit.test is not None:
                films[unit.subset].update(unit.test.films)
        return tuple(sorted(films, key=lambda name: (-len(films[name]), name != "all", name)))

    def find(self, experiment: str, backbone: str, subset: str, scheme: str, task: str) -> Group | None:
        return self.groups.get((experiment, backbone, subset, scheme, task))

    def of(self, experiment: str, subset: str, scheme: str, task: str) -> list[Group]:
        """One group per backbone, by name."""
        return [g for b in self.backbones if (g := self.find(experiment, b, subset, scheme, task))]

    def present(self, subset: str, scheme: str, task: str) -> list[str]:
        """The experiments that the study has for it."""
        return [e for e in self.experiments if self.of(e, subset, scheme, task)]

    def matched(self, subset: str, scheme: str, task: str) -> tuple[list[str], dict[str, str]]:
        """Backbones with every fold of every contestant, and for each other backbone what it lacks.

        A mean over other backbones on one side than on the other would compare backbones, not methods.
        """
        rivals = [e for e in self.present(subset, scheme, task) if e in contestants(task)]
        lacks: dict[str, str] = {}
        for backbone in self.backbones:
            for experiment in rivals:
                group = self.find(experiment, backbone, subset, scheme, task)
                if group is None or not group.complete:
                    lacks[backbone] = f"{self.titles[experiment]}: {group.lack if group else 'not in the study'}"
                    break
        return [b for b in self.backbones if b not in lacks] if rivals else [], lacks

    @cached_property
    def best(self) -> str | None:
        """Backbone with the highest mean ACC of MDMT (else of the last contestant there is) in the first subset and scheme."""
        subset, scheme = self.subsets[0], self.schemes[0]
        matched, _ = self.matched(subset, scheme, self.headline)
        rivals = [e for e in contestants(self.headline) if e in self.present(subset, scheme, self.headline)]
        scores = {b: self.groups[rivals[-1], b, subset, scheme, self.headline].mean_and_sd("acc") for b in matched}
        found = {b: score[0] for b, score in scores.items() if score}
        return max(found, key=lambda b: found[b]) if found else None


def _check(results: Results) -> None:
    if not results.units:
        raise ReportError(f"recipe {results.recipe!r} has no units to report: run it first (mdmt run)")
    seen = set()
    for unit in results.units:
        key = (unit.experiment, unit.backbone, unit.weights, unit.subset, unit.scheme, unit.repeat, unit.fold, unit.task)
        if key in seen:
            raise ReportError(f"the unit {' / '.join(map(str, key))} is given twice; every unit must be given once")
        seen.add(key)
    tasks = {unit.task for unit in results.units}
    if unknown := sorted(tasks - set(TASKS)):
        raise ReportError(f"unknown tasks {', '.join(unknown)}; known: {', '.join(TASKS)}")
    if results.headline not in tasks:
        raise ReportError(f"no unit of the headline task {results.headline!r}; there are: {', '.join(sorted(tasks))}")


def _ordered(names: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Known names in their order, then others by name; only those that occur."""
    found = set(names)
    return (*(n for n in known if n in found), *sorted(found - set(known)))
