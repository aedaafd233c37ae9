"""Every refusal as `application/problem+json` (RFC 9457), from one table.

A body never echoes what the caller sent: no path, no file name, no field name, no DICOM value.
"""

import math
from http import HTTPStatus
from typing import Any

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from cxr.decoding import NurseryGone
from cxr.errors import (
    EmptyFile,
    FileTooLarge,
    FilmError,
    FilmTooSmall,
    NoContrast,
    NotFrontalChest,
    NotGray,
    TruncatedFile,
    UnsupportedDicom,
    UnsupportedFormat,
)
from cxr.pipeline import LungsNotFound

MEDIA_TYPE = "application/problem+json"

FILM_STATUS: dict[type[FilmError], int] = {
    FilmError: 422,
    EmptyFile: 422,
    UnsupportedFormat: 415,
    FileTooLarge: 413,
    TruncatedFile: 422,
    UnsupportedDicom: 422,
    FilmTooSmall: 422,
    NoContrast: 422,
    NotGray: 422,
    LungsNotFound: 422,
    NotFrontalChest: 422,
}

PROBLEMS: dict[str, tuple[int, str]] = {
    **{error.code: (status, error.title) for error, status in FILM_STATUS.items()},
    "unsupported-media-type": (415, "Unsupported media type"),
    "missing-file": (422, "No file in the form"),
    "several-files": (422, "More than one file"),
    "malformed-form": (422, "Malformed multipart form"),
    "invalid-request": (422, "Invalid request"),
    "body-timeout": (408, "The body came too slowly"),
    "not-found": (404, "No such page"),
    "method-not-allowed": (405, "Method not allowed"),
    "bad-request": (400, "Bad request"),
    "no-key": (401, "No valid API key"),
    "wrong-scope": (403, "The API key does not allow this"),
    "unknown-host": (421, "Asked under a name that is not the service's"),
    "cross-origin": (403, "Asked by a page of another site"),
    "not-acceptable": (406, "No such form of the answer"),
    "no-evidence": (409, "This version has no evidence"),
    "version-refused": (409, "The new version is not served"),
    "too-many-requests": (429, "Too many requests"),
    "not-ready": (503, "Not ready"),
    "registry-away": (503, "The registry does not answer"),
    "busy": (503, "Busy"),
    "internal-error": (500, "Internal error"),
}


class ProblemError(Exception):
    """A refusal by the service itself; `code` is a row of PROBLEMS. `retry_after` in seconds becomes Retry-After."""

    def __init__(self, code: str, detail: str, retry_after: float | None = None, headers: dict[str, str] | None = None) -> None:
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(math.ceil(retry_after))
        super().__init__(detail)


class ProblemResponse(JSONResponse):
    """The answer goes out at once; a body still on its way is then drained, bounded in bytes and time.

    A connection closed over unread data is reset, and the sender sees a broken pipe instead of the answer.
    """

    media_type = MEDIA_TYPE

    def __init__(self, content: dict[str, Any], status: int, headers: dict[str, str], drain: tuple[int, float] | None) -> None:
        super().__init__(content, status, headers if drain is None else {**headers, "Connection": "close"})
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._drain is None:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        left, seconds = self._drain
        with anyio.move_on_after(seconds):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
        await send({"type": "http.response.body", "body": b""})


def problem(request: Request, code: str, detail: str, headers: dict[str, str] | None = None, **members: Any) -> ProblemResponse:
    """The answer for one row of PROBLEMS, with `members` as extensions."""
    status, title = PROBLEMS[code]
    request_id = request.state.request_id
    request.state.problem = code
    request.app.state.metrics.refusals.labels(code).inc()
    content = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"/requests/{request_id}",
        "request_id": request_id,
        **members,
    }
    return ProblemResponse(content, status, headers or {}, _drain_of(request))


def install(app: FastAPI) -> None:
    """Answer every exception as a problem, on the event loop: for a plain function Starlette would wait for a thread, and refusals are
    many where threads are few. What nobody foresaw is caught by `access.AccessMiddleware`."""
    app.add_exception_handler(ProblemError, _own)
    app.add_exception_handler(FilmError, _film)
    app.add_exception_handler(NurseryGone, _no_process)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


async def _own(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, ProblemError)
    return problem(request, error.code, error.detail, error.headers)


async def _film(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, FilmError)
    request.app.state.metrics.film_errors.labels(error.code).inc()
    return problem(request, error.code, **film_refusal(error))


async def _no_process(request: Request, error: Exception) -> ProblemResponse:
    """The host is short of memory or processes, which is no fault of the film or of the version."""
    detail = "No process that decodes films can be started. Send the film again later."
    return await _own(request, ProblemError("busy", detail, request.app.state.settings.retry_seconds))


def film_refusal(error: FilmError) -> dict[str, Any]:
    """What is said of a film that was refused: `detail`, and the members that go with its type."""
    members: dict[str, Any] = {"advice": error.advice} if error.advice else {}
    if isinstance(error, LungsNotFound):
        members |= {"verdict": error.verdict.value, "coverage": error.coverage}
    if isinstance(error, NotFrontalChest):
        members |= {"reason": error.reason, "score": error.score, "threshold": error.threshold}
    return {"detail": f"Found {error.found}; allowed: {error.allowed}.", **members}


async def _http(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
    detail = f"{HTTPStatus(PROBLEMS[code][0]).phrase}. /docs lists every path and what it takes."
    return problem(request, code, detail, dict(error.headers or {}))


async def _validation(request: Request, error: Exception) -> ProblemResponse:
    """Names the parameters that /docs describes, never what was sent in them."""
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(sorted({f"`{one['loc'][-1]}`: {one['msg']}" for one in error.errors() if one["loc"]}))
    return problem(request, "invalid-request", f"The request does not match its description in /docs: {wrong}.")


def _drain_of(request: Request) -> tuple[int, float] | None:
    """(bytes, seconds) to drain, None when no body is on its way or its sender waits for leave to send it."""
    headers, settings = request.headers, request.app.state.settings
    announced = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    waiting = headers.get("expect", "").lower() == "100-continue" and not getattr(request.state, "body_started", False)
    if not announced or waiting or getattr(request.state, "body_complete", False):
        return None
    return max(0, settings.drain_bytes - getattr(request.state, "body_bytes", 0)), settings.drain_seconds
