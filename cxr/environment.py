"""Settings from `MDMT_…` environment variables: the class that all of them derive from, and a wrong value in a sentence."""

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "MDMT_"
UNSAID = ("key", "password", "secret", "uri")  # parts of the names of what may hold a secret
MOST_SAID = 80  # characters of a value


class BadSetting(ValueError):
    """A variable whose value is not allowed."""


class FromEnvironment(BaseSettings):
    """One field per setting; the variable is the field's name in capitals with `MDMT_` in front. Raises BadSetting."""

    # An empty variable is one that is not set: compose files and .env write it so, and an empty key file would be the working directory.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, use_attribute_docstrings=True, populate_by_name=True
    )

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise BadSetting("; ".join(map(_sentence, error.errors(include_url=False)))) from None


def _sentence(error: ErrorDetails) -> str:
    allowed = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return allowed
    name = str(error["loc"][0]).upper()
    variable = name if name.startswith((PREFIX, "MLFLOW_")) else PREFIX + name
    said = "" if any(part in name.lower() for part in UNSAID) else f" is {str(error['input'])[:MOST_SAID]!r}"
    return f"{variable}{said}: {allowed[:1].lower()}{allowed[1:]}"
