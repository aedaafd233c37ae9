"""A small plan of two cohorts, and what of two plans differs."""

from collections.abc import Mapping
from pathlib import Path

from hypothesis import settings

from tests.training.protocol.tiny import rows_only, stores_of, tiny_recipe
from training.data.cohort import Cohort
from training.data.films import FilmStore
from training.protocol.plan import Plan, make_plan
from training.protocol.recipe import Recipe, Scheme, Subset
from training.protocol.unit import Sheet, Unit

few = settings(max_examples=25, deadline=None)
LOCO = Scheme(kind="loco", primary="aiforcovid", centres=("A", "B"))
RELEASES = tuple(
    Subset(name=f"release-{n}", keep={"aiforcovid": {"release": tuple(map(str, range(1, n + 1)))}}) for n in (1, 2, 3)
)
COHORTS = (rows_only("aiforcovid", "prognosis", 2), rows_only("brixia", "severity", 4))
NOWHERE = Path("nowhere")


def recipe(**changes: object) -> Recipe:
    return tiny_recipe(**{"schemes": (Scheme(kind="cv", folds=2), LOCO), "batch_norm": "reestimate", **changes})


def plan(
    given: Recipe | None = None, films: Mapping[str, FilmStore] | None = None, cohorts: tuple[Cohort, ...] = COHORTS
) -> Plan:
    return make_plan(given or recipe(), cohorts, films or stores_of(cohorts), NOWHERE)


def by_title(given: Plan) -> dict[str, Unit]:
    return {unit.title: unit for unit in given.units}


def changed(before: Plan, after: Plan) -> set[str]:
    first, second = by_title(before), by_title(after)
    assert first.keys() == second.keys()
    return {title for title in first if first[title].fingerprint != second[title].fingerprint}


def with_dependents(touched: set[str], of: Plan) -> set[str]:
    """Titles, and those of all units that start from them, directly or not."""
    spoiled = {unit.fingerprint for unit in of.units if unit.title in touched}
    for unit in of.units:  # parents come first
        if spoiled.intersection(unit.parents):
            spoiled.add(unit.fingerprint)
    return {unit.title for unit in of.units if unit.fingerprint in spoiled}


BASE = plan()


def rebuilt(unit: Unit, **changes: object) -> Unit:
    if "samples" in changes:
        changes["sheet"] = Sheet(samples=changes.pop("samples"))
    return Unit.model_validate({**unit.model_dump(), **changes})
