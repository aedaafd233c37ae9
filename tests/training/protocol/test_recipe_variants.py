"""The variants of the recipes on real films: each is a recipe of its own that can be planned on tables like the public ones."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.executors.process import ProcessExecutor
from tests.training.evidence.test_parts import write_films
from training.protocol.plan import Plan
from training.protocol.recipe import Recipe, load_recipe, variants
from training.protocol.study import Study
from training.tracking import Tracking, default_uri

VARIED = {"real-severity": 15, "real-prognosis": 5, "real": 3}  # with the recipe itself
NAMES = [f"{base}+{name}" for base in VARIED for name in variants(base)]
Planned = Callable[[str], tuple[Recipe, Plan]]


@pytest.fixture(scope="module")
def planned(new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """A recipe by name, and its units counted from the tables: nothing is prepared, no weights are looked at."""
    films, home = write_films(tmp_path_factory.mktemp("films")), new_home()
    labels = films / "public-prognosis/labels.csv"
    head, *rows = labels.read_text().splitlines()
    centres = [("ITALY", "HANNOVER", "EAST_ASIA")[i // 2 % 3] for i in range(len(rows))]  # two films of each patient
    moved = [row.replace(row.split(",")[2], centre) for row, centre in zip(rows, centres, strict=True)]
    labels.write_text("\n".join([head, *moved]))
    tracking = Tracking(default_uri(home), home)

    def plan(name: str) -> tuple[Recipe, Plan]:
        recipe = load_recipe(name)
        return recipe, Study(recipe, films, tracking, ProcessExecutor(1), 1).outline()

    return plan


@pytest.mark.parametrize("name", [*VARIED, *NAMES])
def test_a_variant_loads_under_its_name_and_every_unit_of_it_is_planned(name: str, planned: Planned) -> None:
    recipe, plan = planned(name)
    assert recipe.name == name
    folds = sum(3 if scheme.kind == "loco" else scheme.folds * scheme.repeats for scheme in recipe.schemes)
    wanted = {unit.experiment for unit in plan.units}
    assert wanted >= set(recipe.experiments)
    assert len(plan.units) == folds * len(recipe.backbones) * len(recipe.subsets) * len(wanted)
    assert all(unit.part("train") and unit.part("val") and unit.part("test") for unit in plan.units)


@pytest.mark.parametrize("base", VARIED)
def test_no_variant_is_another_by_another_name(base: str) -> None:
    recipes = [load_recipe(base), *variants(base).values()]
    assert len({recipe.digest() for recipe in recipes}) == len(recipes) == VARIED[base]
    assert [recipe.name for recipe in recipes if recipe.evidence] == [base]  # the page has one part for all of them


def test_variants_share_the_units_that_they_do_not_change(planned: Planned) -> None:
    whole, zones = (set(planned(name)[1].distinct) for name in ("real-prognosis", "real-prognosis+zones"))
    masked = set(planned("real-prognosis+masked")[1].distinct)
    assert whole & zones and zones - whole
    assert masked <= whole  # before films are prepared: the crop is in the films, not in the unit
