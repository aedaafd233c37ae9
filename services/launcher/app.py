"""The launcher as an ASGI application: find the call, judge it, pass on what was built anew, answer what the engine answers."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.launcher import operations
from services.launcher.asked import read
from services.launcher.creation import creation
from services.launcher.engine import EMPTY, Engine
from services.launcher.errors import EngineAway, Full, Malformed, NoSuchContainer, Problem, Refused, TooLarge, TooSlow, show
from services.launcher.rules import ROLES
from services.launcher.settings import Settings

log = logging.getLogger(__name__)
BODY_BYTES, BODY_SECONDS = 64 << 10, 10.0
VERSION_FIELDS = ("ApiVersion", "MinAPIVersion", "Version", "Os", "Arch")


def create_app(settings: Settings) -> ASGIApp:
    """The application. It connects to the engine when it is first asked."""
    launcher = Launcher(settings, Engine(settings.launcher_socket))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await launcher.answer(request)
        except Problem as problem:
            log.warning("%s %s: %d %s", request.method, show(scope["path"]), problem.status, problem)
            response = JSONResponse({"message": str(problem)}, problem.status)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    return app


class Launcher:
    """Judges calls, and makes those that are allowed on `engine`."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings, self._engine = settings, engine
        self._creating = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        """What the engine answers to an allowed call. Raises Problem for any other."""
        if "origin" in request.headers:
            raise Refused("Origin", request.headers["origin"], "absent: this is no place for a browser")
        raw = request.scope["raw_path"].decode("ascii", "replace")
        operation, named = operations.find(request.method, raw)
        query = operations.query(operation, request.scope["query_string"].decode("ascii", "replace"))
        match operation.name:
            case "ping":
                return _passed_on(await self._engine.call("GET", "/_ping", {}))
            case "version":
                about = await self._engine.version()
                return JSONResponse({name: about[name] for name in VERSION_FIELDS if name in about})
            case "list":
                return JSONResponse(await self._list(query))
            case "image":
                return await self._image(unquote(named["image"]))
            case "create":
                return await self._create(query.get("name"), await _body(request))
        identity = await self._own(named["id"])
        path = f"/containers/{identity}{operation.path.removeprefix(f'/containers/{operations.CONTAINER}')}"
        if operation.name not in ("wait", "logs", "stop"):
            return _passed_on(await self._engine.call(operation.method, path, query))
        answer, rest = await self._engine.stream(operation.method, path, query)
        if answer.status_code in EMPTY:
            await answer.aclose()
            return Response(status_code=answer.status_code)
        return StreamingResponse(rest, answer.status_code, media_type=answer.headers.get("content-type"))

    async def _list(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        narrowed = {**query, "filters": operations.filters(query.get("filters", "{}"), self._settings.stack)}
        answer = await self._engine.call("GET", "/containers/json", narrowed)
        if answer.status_code != 200:
            raise EngineAway(f"the engine does not list its containers: {answer.text[:200]}")
        return [container for container in answer.json() if self._is_ours(container.get("Labels"))]

    async def _own(self, name: str) -> str:
        """The full id of one of our containers. Raises NoSuchContainer for any other."""
        answer = await self._engine.call("GET", f"/containers/{name}/json", {})
        if answer.status_code not in (200, 404):
            raise EngineAway(f"the engine does not show container {name}: {answer.text[:200]}")
        if answer.status_code == 404 or not self._is_ours(answer.json()["Config"]["Labels"]):
            raise NoSuchContainer(name)
        return str(answer.json()["Id"])

    def _is_ours(self, labels: Mapping[str, str] | None) -> bool:
        """By stack and role: a service of the stack has no role."""
        labels = labels or {}
        return labels.get("mdmt.stack") == self._settings.stack and labels.get("mdmt.role") in ROLES

    async def _image(self, asked: str) -> Response:
        answer = await self._engine.call("GET", f"/images/{self._settings.unit_image}/json", {})
        allowed = (self._settings.unit_image, answer.json()["Id"]) if answer.status_code == 200 else (self._settings.unit_image,)
        if asked not in allowed:
            raise Refused("image", asked, " or ".join(allowed))
        return _passed_on(answer)

    async def _create(self, name: str | None, body: bytes) -> Response:
        asked = read(body)
        found = await self._engine.call("GET", f"/images/{self._settings.unit_image}/json", {})
        if found.status_code != 200:
            return _passed_on(found)
        name, ours = creation(asked, name, self._settings, found.json()["Id"])
        await self._check_network()
        async with self._creating:  # counted and created by one at a time, or the bound is none
            there = len(await self._list({"all": "1"}))
            if there >= self._settings.launcher_containers:
                raise Full(f"{there} containers are there; allowed: {self._settings.launcher_containers}: remove ended ones")
            answer = await self._engine.call("POST", "/containers/create", {"name": name} if name else {}, ours)
        log.info("create %s (%s) of %s: %d", name, ours["Labels"]["mdmt.role"], ours["Image"], answer.status_code)
        return _passed_on(answer)

    async def _check_network(self) -> None:
        """A network with a way out would be one for whatever runs in the containers."""
        network = self._settings.unit_network
        answer = await self._engine.call("GET", f"/networks/{network}", {})
        if answer.status_code != 200 or not answer.json()["Internal"]:
            found = "not internal" if answer.status_code == 200 else "absent"
            raise Refused(f"network {network}", found, f"an internal one: docker network create --internal {network}")


async def _body(request: Request) -> bytes:
    """The body, as JSON and bounded in bytes and in time."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Malformed(f"Content-Type: found {kind!r}; allowed: application/json")
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES:
                    raise TooLarge(f"the body has more than {BODY_BYTES} bytes, which is the most that is read")
    except TimeoutError as error:
        raise TooSlow(f"the body did not end within {BODY_SECONDS:g} s") from error
    return body


def _passed_on(answer: Any) -> Response:
    if answer.status_code in EMPTY:
        return Response(status_code=answer.status_code)
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
