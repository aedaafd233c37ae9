"""How refusals look in /openapi.json, from the same table that makes them."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from serving.authorization import is_public
from serving.errors import MEDIA_TYPE, PROBLEMS

KEY = {"type": "http", "scheme": "bearer", "description": "an API key, as `mdmt keys new` prints it"}


class ProblemBody(BaseModel):
    """RFC 9457. Further members depend on the type: `advice`; for `no-lungs` also `verdict` and `coverage`."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: each status with every type it can have as an example."""
    return {status: _response(status) for status in statuses}


def ask_for_keys(app: FastAPI) -> None:
    """/openapi.json says which operations want an API key, and how a request without one is refused."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = described()
            schema.setdefault("components", {})["securitySchemes"] = {"key": KEY}
            for operation in (one for path, found in schema["paths"].items() if not is_public(path) for one in found.values()):
                operation["security"] = [{"key": []}]
                operation["responses"] |= {str(status): said for status, said in problems(401, 403, 429).items()}
        return described()

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a body that FastAPI does not read itself: with its parts inside, since nothing else defines them."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def inside(node: Any) -> Any:
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).removeprefix("#/$defs/")
            return inside(parts[name]) if name in parts else {key: inside(value) for key, value in node.items()}
        return [inside(value) for value in node] if isinstance(node, list) else node

    found: dict[str, Any] = inside(schema)
    return found


def _response(status: int) -> dict[str, Any]:
    rest = {"status": status, "detail": "…", "instance": "/requests/5b0c7b8e", "request_id": "5b0c7b8e"}
    examples = {
        code: {"value": {"type": f"/problems/{code}", "title": title, **rest}}
        for code, (row_status, title) in PROBLEMS.items()
        if row_status == status
    }
    content = {"schema": ProblemBody.model_json_schema(), "examples": examples}
    response: dict[str, Any] = {"description": " or ".join(examples), "content": {MEDIA_TYPE: content}}
    if status == 503:
        response["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return response
