"""How refusals look in /openapi.json, from the same table that makes them."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from services.trainer.errors import MEDIA_TYPE, PROBLEMS


class ProblemBody(BaseModel):
    """RFC 9457. `code` is stable; `errors` lists what is wrong field by field, where that is known."""

    model_config = ConfigDict(extra="allow")
    type: str
    code: str
    title: str
    status: int
    detail: str


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: these refusals, and those that every route knows."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, "not-found", "unknown-host", "internal-error"):
        status, title = PROBLEMS[code]
        response = by_status.setdefault(
            status, {"description": "", "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema(), "examples": {}}}}
        )
        response["description"] += f"{', ' if response['description'] else ''}{code}"
        example = {"type": f"/problems/{code}", "code": code, "title": title, "status": status, "detail": "…"}
        response["content"][MEDIA_TYPE]["examples"][code] = {"value": example}
        if status == 503:
            response["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return by_status
