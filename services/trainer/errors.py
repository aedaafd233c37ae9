"""Every refusal as `application/problem+json` (RFC 9457), from one table of stable codes."""

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from training.tracking import TrackingError

MEDIA_TYPE = "application/problem+json"
PROBLEMS: dict[str, tuple[int, str]] = {
    "invalid-request": (422, "The request is not as described in /docs"),
    "invalid-recipe": (422, "Not a recipe"),
    "invalid-data": (422, "No such data folder"),
    "unknown-protocol": (404, "No such protocol"),
    "not-found": (404, "No such page"),
    "method-not-allowed": (405, "Method not allowed"),
    "still-stopping": (409, "The protocol is still being cancelled"),
    "registering": (409, "The version is being registered"),
    "tracking-refuses": (409, "MLflow does not hold what it should"),
    "body-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "unknown-host": (421, "Asked under a name that is not the service's"),
    "cross-origin": (403, "Asked by a page of another site"),
    "bad-request": (400, "Bad request"),
    "stopping": (503, "The service is being stopped"),
    "tracking-away": (503, "MLflow does not answer"),
    "not-ready": (503, "Not ready"),
    "internal-error": (500, "Internal error"),
}
CODES = {404: "not-found", 405: "method-not-allowed"}
log = logging.getLogger(__name__)


class Refused(Exception):
    """A refusal; `code` is a row of PROBLEMS, `members` extend the answer, `retry_after` (seconds) becomes a header."""

    def __init__(self, code: str, detail: str, retry_after: float | None = None, **members: Any) -> None:
        self.code, self.detail, self.members = code, detail, members
        self.headers = {} if retry_after is None else {"Retry-After": str(math.ceil(retry_after))}
        super().__init__(detail)


def fields_of(error: ValidationError | RequestValidationError, whole: str = "body") -> list[dict[str, str]]:
    """What is wrong, field by field; the values found are not repeated."""
    return [{"field": ".".join(map(str, e["loc"])) or whole, "message": e["msg"]} for e in error.errors()]


def install(app: FastAPI) -> None:
    """Answer every exception as a problem."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(TrackingError, _tracking)
    app.add_exception_handler(Exception, _unforeseen)


def problem(code: str, detail: str, headers: dict[str, str] | None = None, **members: Any) -> JSONResponse:
    status, title = PROBLEMS[code]
    content = {"type": f"/problems/{code}", "code": code, "title": title, "status": status, "detail": detail, **members}
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return problem(error.code, error.detail, error.headers, **error.members)


def _tracking(_: Request, error: Exception) -> JSONResponse:
    """What a person has to put right there, and how: its sentence says so."""
    return problem("tracking-refuses", str(error))


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(
        CODES.get(error.status_code, "bad-request"), f"{error.detail}. /docs lists every path.", dict(error.headers or {})
    )


def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = fields_of(error)
    return problem("invalid-request", "; ".join(f"{e['field']}: {e['message']}" for e in errors), errors=errors)


def _unforeseen(_: Request, error: Exception) -> JSONResponse:
    log.error("a request failed", exc_info=error)
    return problem("internal-error", "The service failed on this request; its log says why.")
