"""Recipes: validated as a whole, the same value from Python or JSON, and errors that say what is allowed."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from training.learning.backbones import NAMES
from training.protocol.recipe import RECIPES, Recipe, RecipeError, Scheme, find_data, load_recipe


def content(name: str = "demo", **changes: object) -> dict[str, object]:
    return {**load_recipe(name).model_dump(mode="json"), **changes}


def written(folder: Path, fields: dict[str, object]) -> str:
    path = folder / "mine.json"
    path.write_text(json.dumps(fields))
    return str(path)


def refusal(folder: Path, **changes: object) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(written(folder, content(**changes)))
    return str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_named_as_asked_and_survives_json(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    again = load_recipe(written(tmp_path, content(name)))
    assert recipe.name == name
    assert (again, again.digest()) == (recipe, recipe.digest())
    assert {backbone.name for backbone in recipe.backbones} <= set(NAMES)


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_of_a_shipped_recipe_states_source_command_cost_and_expectation(name: str) -> None:
    source = Path(__file__).parents[3] / f"training/protocol/recipes/{name.replace('-', '_')}.py"
    header = source.read_text().split('"""')[1]
    assert header.startswith(f"{name}: ")
    assert all(f"\n{word} " in header for word in ("Source", "Command", "Cost", "Expected"))


def test_shipped_recipes_have_digests_of_their_own() -> None:
    assert len({load_recipe(name).digest() for name in RECIPES}) == len(RECIPES)


def test_the_order_of_keys_does_not_change_a_digest_and_any_value_does(tmp_path: Path) -> None:
    turned = load_recipe(written(tmp_path, dict(reversed(content().items()))))
    assert turned.digest() == load_recipe("demo").digest()
    assert Recipe(**content(seed=1)).digest() != turned.digest()
    assert Recipe(**content(training={**content()["training"], "patience": 3})).digest() != turned.digest()


def test_an_unknown_recipe_is_refused_with_the_shipped_ones() -> None:
    with pytest.raises(
        RecipeError, match="no recipe 'demmo'; shipped: demo, paper, authors-code, real-cxr, real, real-lungs, phantom-severity"
    ):
        load_recipe("demmo")


def test_a_misspelled_key_is_refused_by_name_with_the_fields_there_are(tmp_path: Path) -> None:
    message = refusal(tmp_path, bakcbones=[])
    assert "bakcbones: Extra inputs are not permitted" in message
    assert all(field in message for field in Recipe.model_fields)
    inner = refusal(tmp_path, training={**content()["training"], "learnig_rate": 1.0})
    assert "training.learnig_rate: Extra inputs" in inner


def test_every_mistake_is_listed_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, beta=2, val_fraction=0.9, backbones=[{"name": "resnet18", "weights": "../random"}])
    assert all(place in message for place in ("beta: ", "val_fraction: ", "backbones.0.weights: "))


def test_a_file_that_is_not_json_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"name": ')
    with pytest.raises(RecipeError, match=r"torn\.json is not a recipe"):
        load_recipe(str(tmp_path / "torn.json"))


def test_leaving_centres_out_needs_the_cohort_they_belong_to(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="'loco' scheme needs `primary`"):
        Scheme(kind="loco")
    message = refusal(tmp_path, schemes=[{"kind": "loco", "primary": "aiforcovd"}])
    assert "'aiforcovd'" in message
    assert "aiforcovid" in message.replace("aiforcovd", "")


def test_unknown_experiments_and_headlines_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    assert "unknown experiment 'mtl'; known: stl-prognosis, stl-severity, ft, ft-severity, mdmt" in refusal(
        tmp_path, experiments=["mtl"]
    )
    assert "headline 'mortality' is no task; known: prognosis, severity" in refusal(tmp_path, headline="mortality")


@pytest.mark.parametrize("pooling", ["lungs", "zones"])
def test_a_mean_over_the_lungs_needs_films_that_tell_them_from_the_rest(pooling: str, tmp_path: Path) -> None:
    recipe = content()
    pooled = {"training": {**recipe["training"], "pooling": pooling}}  # type: ignore[dict-item]
    assert f"pooling '{pooling}' on films with crop 'box'" in refusal(tmp_path, **pooled)
    own = {"name": "mine", "title": "MDMT", "tasks": ["prognosis", "severity"], "training": {"pooling": pooling}}
    assert "set pipeline.crop to 'masked'" in refusal(tmp_path, own_experiments=[own])


def test_shipped_recipes_with_means_over_lungs_have_films_for_them() -> None:
    assert load_recipe("demo+lungs").training.pooling == "lungs"
    assert load_recipe("real-severity+close").training.pooling == "zones"


def test_what_is_served_answers_all_that_it_learns_or_what_its_experiment_says(tmp_path: Path) -> None:
    assert load_recipe("demo").answers == ("prognosis", "severity")
    served = {"name": "mdmt", "title": "MDMT", "tasks": ["prognosis", "severity", "zone-a"], "answers": ["prognosis"]}
    one = load_recipe(written(tmp_path, content(own_experiments=[served])))
    assert one.answers == ("prognosis",)
    all_of_it = load_recipe(written(tmp_path, content(own_experiments=[{**served, "answers": []}])))
    assert all_of_it.answers == ("prognosis", "severity", "zone-a") and all_of_it.digest() != one.digest()
    assert "answers age, which it does not learn: prognosis, severity, zone-a" in refusal(
        tmp_path, own_experiments=[{**served, "answers": ["age"]}]
    )


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe("demo").seed = 1


def test_data_is_the_given_folder_or_the_first_of_the_recipes_own_that_exists(tmp_path: Path) -> None:
    recipe = Recipe(**content(data=[str(tmp_path / "missing"), str(tmp_path)]))
    given = tmp_path / "given"
    given.mkdir()
    assert (find_data(recipe, None), find_data(recipe, given)) == (tmp_path, given)
    with pytest.raises(RecipeError, match=r"no data for recipe 'demo' in .*nowhere: give its folder with --data"):
        find_data(recipe, tmp_path / "nowhere")


def test_a_recipe_that_would_show_nothing_is_refused_and_one_of_evidence_alone_is_not(tmp_path: Path) -> None:
    assert "no experiments and no evidence: nothing would come of it" in refusal(tmp_path, experiments=[])
    assert load_recipe(written(tmp_path, content(experiments=[], evidence="lungs"))).experiments == ()
