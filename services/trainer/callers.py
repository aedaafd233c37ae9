"""Who may ask: whoever reaches the port, but no page of another site, which a browser on this machine could be made to ask for."""

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cxr.loopback import READING, is_from_elsewhere, is_own_name
from services.trainer.errors import problem
from services.trainer.settings import Settings


class Callers:
    """Middleware: answers 421 to names that are not the service's, and 403 to pages of other sites that would change something."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._names = app, settings.names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> JSONResponse | None:
        headers = request.headers
        if not is_own_name(headers.getlist("host"), self._names):
            return problem("unknown-host", "Ask 127.0.0.1 or localhost, or set MDMT_TRAINER_HOSTS to the names it has.")
        elsewhere = is_from_elsewhere(headers["host"], headers.get("origin"), headers.get("sec-fetch-site"))
        if request.method not in READING and elsewhere:
            return problem("cross-origin", "A page of another site may not ask this service. Open its own /docs.")
        return None
