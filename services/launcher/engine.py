"""The real engine behind its socket. What is asked of it is built here from values that were judged before."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

from services.launcher.errors import EngineAway

OLDEST = (1, 41)  # an older version of the API drops fields that we force: CgroupnsMode before 1.41, PidsLimit before 1.40
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 120.0
EMPTY = (204, 304)


class Engine:
    """Calls over the Unix socket `socket`, all in the engine's own version of the API, whichever the caller names."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._version = ""
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(socket), limits=httpx2.Limits(max_connections=None)),
            base_url="http://engine",
            headers={"Accept-Encoding": "identity"},
        )

    async def version(self) -> dict[str, Any]:
        """What the engine says of itself. Raises EngineAway when it does not answer or is older than `OLDEST`."""
        about: dict[str, Any] = (await self._send("GET", "/version", {}, None, ANSWER_SECONDS)).json()
        found = re.fullmatch(r"([0-9]+)\.([0-9]+)", str(about.get("ApiVersion")))
        if not found or (int(found[1]), int(found[2])) < OLDEST:
            raise EngineAway(
                f"the engine's API is {about.get('ApiVersion')}; at least {OLDEST[0]}.{OLDEST[1]} is needed: upgrade it"
            )
        self._version = found[0]
        return about

    async def call(self, method: str, path: str, query: Mapping[str, str], body: Any = None) -> httpx2.Response:
        """The whole answer, whatever its status. `path` begins with a slash and has no version."""
        return await self._send(method, await self._versioned(path), query, body, ANSWER_SECONDS)

    async def stream(self, method: str, path: str, query: Mapping[str, str]) -> tuple[httpx2.Response, AsyncIterator[bytes]]:
        """The beginning of an answer, and the rest as it comes, for as long as it takes; whoever stops reading ends the call."""
        answer = await self._send(method, await self._versioned(path), query, None, None, whole=False)

        async def rest() -> AsyncIterator[bytes]:
            try:
                async for chunk in answer.aiter_raw():
                    yield chunk
            finally:
                await answer.aclose()

        return answer, rest()

    async def _versioned(self, path: str) -> str:
        if not self._version:
            await self.version()
        return f"/v{self._version}{path}"

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Any, seconds: float | None, whole: bool = True
    ) -> httpx2.Response:
        timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS)
        request = self._client.build_request(method, path, params=dict(query), json=body, timeout=timeout)
        try:
            return await self._client.send(request, stream=not whole)
        except httpx2.TransportError as error:
            raise EngineAway(
                f"the engine does not answer at {self._socket} ({type(error).__name__}: {error}): "
                "it should run, and this process be in the group of its socket"
            ) from error
