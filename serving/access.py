"""Around every request: its id, the version header, one JSON log line, the counts, and the answer to what nobody foresaw."""

import json
import logging
import re
import traceback
import uuid
from http import HTTPStatus
from time import perf_counter

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import problem
from serving.security_headers import secure

log = logging.getLogger("serving.access")
REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_GONE = 499


class AccessMiddleware:
    """Logs routes, never paths: a caller may put a patient's name into a path, and it must not reach the log or the metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        state = scope.setdefault("state", {})
        state["request_id"] = given if REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        status = CLIENT_GONE
        started = perf_counter()

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                secure(headers)
                headers["X-Request-ID"] = state["request_id"]
                if scope["app"].state.readiness.ending:
                    headers["Connection"] = "close"  # so that nobody sends a further request on it
                if (loaded := state.get("loaded")) is not None:
                    headers["X-Model-Version"] = loaded.version
                    failed = state.get("version_failed", False)
                    if scope["method"] == "POST" and (failed or status == HTTPStatus.OK):
                        scope["app"].state.readiness.answered(loaded, failed)
            await send(message)

        async def receive_marked() -> Message:
            state["body_started"] = True
            message = await receive()
            state["body_complete"] = not message.get("more_body", False)
            state["body_bytes"] = state.get("body_bytes", 0) + len(message.get("body", b""))
            return message

        try:
            await self._app(scope, receive_marked, send_marked)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception as error:  # noqa: BLE001 - the last handler: nothing may leak, and one request never ends the service
            _log_failure(state["request_id"], error)
            if status == CLIENT_GONE:
                request = Request(scope, receive_marked)
                response = problem(request, "internal-error", "The service failed on this request. Its log has the request_id.")
                await response(scope, receive_marked, send_marked)
        finally:
            _record(scope, status, perf_counter() - started)


def _record(scope: Scope, status: int, seconds: float) -> None:
    state, metrics = scope["state"], scope["app"].state.metrics
    route = getattr(scope.get("route"), "path", None) or "unmatched"
    method = scope["method"] if scope["method"] in METHODS else "other"
    metrics.requests.labels(method, route, str(status)).inc()
    metrics.seconds.labels(route).observe(seconds)
    loaded = state.get("loaded")
    line = {
        "request_id": state["request_id"],
        "method": method,
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 1),
        "problem": state.get("problem"),
        "key": state.get("key"),
        "version": loaded.version if loaded else None,
    }
    log.info(json.dumps({key: value for key, value in line.items() if value is not None}))


def _log_failure(request_id: str, error: Exception) -> None:
    """Where it failed and with what class; not the message, which may quote the file that was sent."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error(json.dumps({"request_id": request_id, "error": type(error).__name__, "where": frames}))
