"""What a study found of the network that it serves, and from that the card of a version."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from cxr.tasks import by_name
from training.data.attributes import groups_of
from training.data.cohort import Cohort, Row
from training.data.cohorts.phantom import is_generated
from training.evaluation.card import CardFacts, CohortFacts, Judged
from training.evaluation.metrics import HEADLINE
from training.evaluation.results import Line, Results
from training.evaluation.table import percent
from training.gate import FoldFigures, fold_figures
from training.protocol.plan import Plan
from training.protocol.recipe import SERVED, BackboneChoice, Recipe
from training.protocol.served import judged_films
from training.protocol.unit import Unit
from training.runs import git_commit
from training.settings import Training

SCHEMES = {"cv": "cross-validation", "loco": "leaving one centre out"}
ROLES = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Findings:
    """What speaks for the served network: lines of the comparison, figures of every fold, every film tested, and the data sets."""

    lines: tuple[Line, ...]
    folds: FoldFigures
    judged: tuple[Judged, ...]
    cohorts: tuple[Cohort, ...]


def findings(
    recipe: Recipe, backbone: BackboneChoice, plan: Plan, results: Results, lines: Sequence[Line], cohorts: Sequence[Cohort]
) -> Findings:
    """Of the networks of `recipe.served_group` with this backbone. Raises NotTheSameFilms as `judged_films` does."""
    return Findings(
        tuple(estimates_of(recipe, backbone, lines)),
        fold_figures(recipe, backbone, plan, results),
        judged_films(recipe, backbone, plan, results, cohorts),
        tuple(cohorts),
    )


def estimates_of(recipe: Recipe, backbone: BackboneChoice, lines: Sequence[Line]) -> list[Line]:
    """The lines that speak for the served network: same experiment and films, same backbone, started from the same weights; of the tasks
    that it answers."""
    experiment, subset, _ = recipe.served_group
    served = (experiment, subset, backbone.name, backbone.weights)
    return [
        line
        for line in lines
        if (line.experiment, line.subset, line.backbone, line.weights) == served and line.task in recipe.answers
    ]


def card_facts(
    recipe: Recipe,
    unit: Unit,
    found: Findings,
    backbone: str,
    temperatures: Mapping[str, float],
    calibrated_on: Mapping[str, int],
) -> CardFacts:
    """Facts of the version whose refit is `unit`; `backbone` tells where it started from, `calibrated_on` counts films by task."""
    used = {(sample.cohort, sample.row) for sample in unit.sheet.samples}
    kept = [Cohort(c.name, tuple(row for row in c.rows if (c.name, row.id) in used)) for c in found.cohorts]
    return CardFacts(
        name=recipe.registered_name,
        tasks=by_name(recipe.answers),
        recipe=recipe.name,
        description=recipe.description,
        recipe_digest=recipe.digest(),
        commit=git_commit(),
        backbone=backbone,
        size=unit.size,
        cut=cut_of(recipe.pipeline.crop, unit.training.pooling),
        seed=unit.seed,
        scheme=SCHEMES[recipe.served_group[2]],
        patients=len({row.patient for cohort in kept for row in cohort.rows}),
        films={name: n for role, name in ROLES.items() if (n := len(unit.part(role)))},
        cohorts=[_cohort(recipe, whole, part) for whole, part in zip(found.cohorts, kept, strict=True)],
        temperatures=temperatures,
        calibrated_on=calibrated_on,
        lines=[(line.scheme, line.task, str(line.films), *(percent(line.folds[m]) for m in HEADLINE)) for line in found.lines],
        judged=found.judged,
        start=_start(recipe),
        loss=loss_of(recipe.answers, unit.training),
        rivals=len(recipe.backbones),
        picked_by=recipe.pick,
        along=[task.title for task in by_name(unit.tasks) if task.name not in recipe.answers],
    )


def cut_of(crop: str, pooling: str) -> str:
    """What of a film the network is shown, in words."""
    shown = {"box": "cropped to their box", "masked": "cropped to their box, all else in it blackened"}[crop]
    given = {
        "everywhere": "",
        "lungs": ", heads given the mean over the lungs alone",
        "zones": ", each of the six zones then looked at alone and close up, heads given means over their lungs alone",
    }
    return shown + given[pooling]


def _start(recipe: Recipe) -> str:
    parents = [recipe.known_experiments[name].title for name in recipe.known_experiments[SERVED].parents]
    return f"the average of the networks {' and '.join(parents)}" if parents else "the backbone's own weights, no other network"


def loss_of(answers: Sequence[str], training: Training) -> str:
    """What the network that answers these tasks was trained by, in words."""
    ranked = [name for name in answers if name in training.ranked]
    loss = "indicator-masked cross-entropy" + (f" ({', '.join(ranked)}: ranked probability score)" if ranked else "")
    return loss + (", weights averaged over the last steps" if training.averaging else "")


def _cohort(recipe: Recipe, whole: Cohort, used: Cohort) -> CohortFacts:
    (source,) = (source for source in recipe.cohorts if source.name == whole.name)
    about = import_module(f"training.data.cohorts.{source.reader}").__doc__ or ""
    counts = used.counts()
    return CohortFacts(
        name=whole.name,
        about=about.splitlines()[0],
        generated=all(is_generated(row.image) for row in used.rows),
        films=len(used.rows),
        patients=counts["patients"]["all"],
        left_out=len(whole.rows) - len(used.rows),
        centres=counts["centre"],
        classes={task: counts[task] for task in used.tasks},
        told=_told(used.rows),
    )


def _told(rows: Sequence[Row]) -> dict[str, int]:
    told = Counter(name for row in rows for name in groups_of(row))
    del told["centre"]  # told of every film, and counted in full
    return dict(told)
