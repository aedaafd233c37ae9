"""From what a caller sent to what is worked on: checked before anything is noted down."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from services.trainer.errors import Refused, fields_of
from services.trainer.records import Order
from services.trainer.settings import Settings
from training.protocol.recipe import NAME, RECIPES, Recipe, RecipeError, find_data, load_recipe


class Submission(BaseModel):
    """`recipe`: the name of a shipped one, or the fields of one. `data`: folder on the service's machine, null: its own default.
    `promote`: whether the new version may become champion when the gate opens."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"recipe": "demo", "data": None, "promote": True}]}
    )

    recipe: str | dict[str, Any]
    data: str | None = None
    promote: bool = True


async def read_submission(request: Request) -> Submission:
    """The body, bounded while it is read. Raises Refused: unsupported-media-type, body-too-large, invalid-request with the fields.

    Only JSON is taken: a browser sends that to another site's address only after asking for leave, which nobody gives.
    """
    media_type, most = request.headers.get("content-type", ""), request.app.state.settings.max_body_bytes
    if media_type.partition(";")[0].strip().lower() != "application/json":
        raise Refused("unsupported-media-type", "Send the submission as application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Refused("body-too-large", f"A submission has at most {most} bytes.")
    try:
        return Submission.model_validate_json(bytes(body))
    except ValidationError as error:
        errors = fields_of(error)
        raise Refused("invalid-request", "; ".join(f"{e['field']}: {e['message']}" for e in errors), errors=errors) from None


def order_from(submission: Submission, settings: Settings) -> Order:
    """Raises Refused: invalid-recipe with the fields, invalid-data."""
    if isinstance(submission.recipe, str):
        if submission.recipe not in RECIPES:
            raise Refused("invalid-recipe", f"No such recipe is shipped; there are: {', '.join(RECIPES)}.")
        recipe = load_recipe(submission.recipe)
    else:
        try:
            recipe = Recipe.model_validate_json(to_json(submission.recipe))
        except ValidationError as error:
            errors = fields_of(error, "recipe")
            raise Refused("invalid-recipe", "; ".join(f"{e['field']}: {e['message']}" for e in errors), errors=errors) from None
    try:
        data = Path(submission.data) if submission.data is not None else None
        return order_of(recipe, data, submission.promote, settings)
    except RecipeError as error:
        raise Refused("invalid-data", str(error)) from None


def order_of(recipe: Recipe, data: Path | None, promote: bool, settings: Settings) -> Order:
    """Raises Refused (invalid-recipe) when the recipe reaches out of its places, RecipeError when there is no such data folder."""
    _stays_inside(recipe)
    allowed = settings.allowed_data
    try:
        folder = find_data(recipe, data or settings.data).resolve()
    except (OSError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError("`data` is no path of a folder") from None
    if allowed is not None and not folder.is_relative_to(allowed.resolve()):
        raise RecipeError(f"data must be in {allowed}; MDMT_DATA_ROOT of the service says where else it may be")
    return Order(recipe, folder, promote)


def _stays_inside(recipe: Recipe) -> None:
    """Names become names of experiments and folders, paths are read: neither may lead out of the data folder."""
    names = [("name", recipe.name), *((f"cohorts.{i}.name", source.name) for i, source in enumerate(recipe.cohorts))]
    wrong = [
        {"field": field, "message": "letters, digits, dot, dash and underscore only, 64 at most"}
        for field, name in names
        if not re.fullmatch(NAME, name)
    ]
    wrong += [
        {"field": f"cohorts.{i}.reader", "message": "a module of training.data.cohorts"}
        for i, source in enumerate(recipe.cohorts)
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", source.reader)
    ]
    paths = [(f"cohorts.{i}.path", source.path) for i, source in enumerate(recipe.cohorts)]
    for field, path in (*paths, ("segmenter.pairs", recipe.segmenter.pairs)):
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path:
            wrong.append({"field": field, "message": "a path inside the data folder"})
    if wrong:
        raise Refused("invalid-recipe", "; ".join(f"{w['field']}: {w['message']}" for w in wrong), errors=wrong)
