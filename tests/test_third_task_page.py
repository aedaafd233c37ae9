"""docs/third-task.md shows the code as it is and a recipe that holds together."""

import re
from pathlib import Path

import pytest

from training.data.cohort import Cohort
from training.data.cohorts import age_groups, aiforcovid, brixia, published_sizes
from training.protocol.plan import make_plan
from training.protocol.recipe import SERVED, Recipe

REPO = Path(__file__).parents[1]
PAGE = (REPO / "docs/third-task.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_every_line_of_code_on_the_page_is_in_the_file_it_is_quoted_from() -> None:
    files = re.findall(r"^## \d.*`([\w/]+\.py)`$", PAGE, flags=re.MULTILINE)
    assert len(files) == len(blocks("python")) == 2
    for name, block in zip(files, blocks("python"), strict=True):
        code = (REPO / name).read_text(encoding="utf-8")
        assert all(passage.strip("\n") in code for passage in block.split("\n\n"))


def test_every_file_that_the_page_names_exists() -> None:
    assert not [name for name in re.findall(r"`((?:cxr|training|tests|docs)/[\w/.]+)`", PAGE) if not (REPO / name).is_file()]


def test_what_the_page_serves_answers_the_third_task_under_a_name_of_its_own() -> None:
    (block,) = blocks("json")
    recipe = Recipe.model_validate_json(block)
    assert recipe.answers == ("prognosis", "severity", "age")
    assert recipe.registered_name == "mdmt-age" and "mdmt serve --name mdmt-age" in PAGE


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> list[Cohort]:
    root = tmp_path_factory.mktemp("published")
    published_sizes.write(root)
    return [
        aiforcovid.load(root / "AIforCOVID", (1,)),
        brixia.load(root / "BRIXIA", "only"),
        age_groups.load(root / "AIforCOVID", (1,)),
    ]


def test_the_recipe_on_the_page_plans_three_tasks_with_the_parents_of_each(cohorts: list[Cohort], tmp_path: Path) -> None:
    (block,) = blocks("json")
    recipe = Recipe.model_validate_json(block)
    assert [source.name for source in recipe.cohorts] == [cohort.name for cohort in cohorts]
    plan = make_plan(recipe, cohorts, None, tmp_path)
    assert {unit.experiment for unit in plan.units} == {
        "stl-prognosis", "stl-severity", "mdmt-two", "stl-age", "ft-age", "mdmt",
    }  # fmt: skip
    by_fingerprint = {unit.fingerprint: unit for unit in plan.units}
    for unit in plan.units:
        if unit.experiment == SERVED:
            assert unit.tasks == ("prognosis", "severity", "age")
            assert [by_fingerprint[parent].experiment for parent in unit.parents] == ["stl-prognosis", "stl-severity", "stl-age"]
