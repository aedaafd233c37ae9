"""Which film stores recipes need: those are never dropped."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from training.data.cohort import CohortError
from training.data.films.preparing import graph_digest, store_folder
from training.data.films.shelf import Shelved
from training.protocol import lung_unet
from training.protocol.recipe import RECIPES, Recipe, RecipeError, find_data, load_recipe
from training.tracking import Tracking


def at_hand(home: Path) -> tuple[list[Recipe], list[Recipe]]:
    """The shipped recipes; and those that were submitted or made by a search here, whose data may be anywhere."""
    files = [*sorted((home / "protocols").glob("*/recipe.json")), *sorted((home / "tuning").glob("*.json"))]
    return [load_recipe(name) for name in RECIPES], [load_recipe(str(file)) for file in files]


def users(
    stores: Sequence[Shelved], recipes: Iterable[tuple[Recipe, Path | None]], elsewhere: Iterable[Recipe], tracking: Tracking
) -> dict[str, list[str]]:
    """Name of a store → names of the recipes that need it.

    `recipes` come with their data folder (None: the recipe's own); those of `elsewhere` may have theirs anywhere. Where the U-Net of a
    recipe cannot be told, because its lung masks are not here or it is not trained, it is taken to need every store of its cohorts
    and spec.
    """
    known = [(recipe, _graph(recipe, data, tracking)) for recipe, data in recipes] + [(recipe, None) for recipe in elsewhere]
    return {store.name: sorted({recipe.name for recipe, graph in known if _needs(recipe, graph, store)}) for store in stores}


def _needs(recipe: Recipe, graph: str | None, store: Shelved) -> bool:
    if store.cohort not in [cohort.name for cohort in recipe.cohorts]:
        return False
    if graph is not None:
        return store.folder == store_folder(store.folder.parent, store.cohort, recipe.pipeline, graph)
    return store.size == recipe.pipeline.size if store.spec is None else store.spec == recipe.pipeline


def _graph(recipe: Recipe, data: Path | None, tracking: Tracking) -> str | None:
    """Digest of the recipe's U-Net, which is not trained for this."""
    try:
        pairs = find_data(recipe, data) / recipe.segmenter.pairs
        found = lung_unet.find_segmenter(pairs, recipe.segmenter.preset, tracking)
    except (RecipeError, CohortError):
        return None
    return found and graph_digest(found.graph)
