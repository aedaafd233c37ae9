"""The part of docs/evidence.md on the network of real films that is served: each film answered by a fold's network that has not seen its
patient, beside the variants of its recipe: another start, or the film as it is in place of the lungs alone."""

from collections.abc import Mapping, Sequence

from cxr.tasks import PROGNOSIS, SEVERITY
from training.data.cohort import Row
from training.evidence.agreement import JUNIOR, Figures, figures_table
from training.evidence.answers import Answered, answered
from training.evidence.energy import energy_table
from training.evidence.page import Part
from training.evidence.patients import Floats, by_film, by_patient, control, table
from training.evidence.readers import agreement, by_network, by_reader, draws_of
from training.evidence.subgroups import judged
from training.evidence.trust import trust_table
from training.evidence.variants import cost_of, finished_variants
from training.protocol.recipe import SERVED, Recipe
from training.protocol.study import Study, View

SEEN = {
    ("box", "everywhere"): "the film in the lungs' box",
    ("masked", "everywhere"): "the lungs alone",
    ("masked", "lungs"): "the lungs alone, averaged over them",
    ("masked", "zones"): "each zone of the lungs alone and close up",
}


def part(study: Study, view: View) -> Part:
    """What the recipe and its finished variants have shown."""
    variants = finished_variants(study)
    studies = {f"`{one.recipe.name}`, {_seen_by(one.recipe)}": one for one in (study, *variants.values())}
    answers = {what: _by_task(answered(one, view)) for what, one in studies.items()}
    outcomes = _prognosis(answers)
    return Part(
        study.recipe.name,
        "The network that is served",
        (
            _about(study),
            "### Severity",
            figures_table(_severity(answers)),
            "### Prognosis",
            table(outcomes, by_film),
            table(outcomes, by_patient),
            "### What its probabilities are worth",
            *(f"**{one.task.title}**\n\n{trust_table(study, one.task, one)}" for one in judged(study, view)),
            "### Where it looks",
            *(f"**{what}**\n\n{energy_table(one, view, SERVED)}" for what, one in studies.items()),
            cost_of(study, variants),
        ),
    )


def _by_task(found: Sequence[Answered]) -> dict[str, Answered]:
    """Of the served experiment, whatever it has learnt."""
    return {one.task: one for one in found if one.experiment == SERVED and one.repeat == 0}


def _seen_by(recipe: Recipe) -> str:
    return SEEN[recipe.pipeline.crop, recipe.training_of("", SERVED).pooling]


def _about(study: Study) -> str:
    recipe = study.recipe
    return (
        f"Recipe `{recipe.name}`, registered as `{recipe.registered_name}`: {recipe.backbones[0].name}, {recipe.pipeline.size} px, "
        f"{recipe.schemes[0].folds}-fold cross-validation by patient, once; the network that is registered is trained on all films in the "
        f"same way. It sees {_seen_by(recipe)}. The outcome leaks here as in the part on prognosis."
    )


def _severity(answers: Mapping[str, Mapping[str, Answered]]) -> dict[str, Figures]:
    """The head that is served, and the sum of the zones that were learnt along, beside the junior radiologist."""
    rows = next(iter(answers.values()))[SEVERITY.name].rows
    weights, truth = draws_of(rows), by_reader(rows, "zones")
    found = {JUNIOR: agreement(truth, by_reader(rows, "second"), weights)}
    for what, tasks in answers.items():
        probabilities = {name: one.probabilities for name, one in tasks.items() if name != PROGNOSIS.name}
        served = by_network({SEVERITY.name: probabilities[SEVERITY.name]})
        found[f"the category answered, {what}"] = agreement(truth, served, weights)
        found[f"from all that was learnt, {what}"] = agreement(truth, by_network(probabilities), weights)
    return found


def _prognosis(answers: Mapping[str, Mapping[str, Answered]]) -> dict[str, tuple[Sequence[Row], Floats]]:
    one = {what: tasks[PROGNOSIS.name] for what, tasks in answers.items()}
    rows = next(iter(one.values())).rows
    return {what: (given.rows, given.probabilities) for what, given in one.items()} | {
        "view position alone": (rows, control(rows, ("view",)))
    }
