"""Who may ask: API keys with scopes, how often each may ask, and nothing for pages of other sites.

Closed unless listed: what is not in PUBLIC needs a key, also a route that somebody adds and a path that does not exist. Without a key
file the service is open, and `check_open` lets it be that on loopback only. A page of another site whose name is made to point to
loopback (DNS rebinding) is of the same origin for a browser, and known by that name in `Host` alone: `Names` refuses it.
"""

import logging
from time import monotonic

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from cxr.loopback import READING, is_from_elsewhere, is_loopback, is_own_name
from serving.errors import ProblemError, ProblemResponse, problem
from serving.keys import Key, KeyFileError, KeyRing
from serving.settings import Settings

log = logging.getLogger("serving")
# Alive or ready, and the page, which holds nothing: what it shows it asks for with a key.
PUBLIC = frozenset({"/", "/docs", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
PUBLIC_BELOW = "/page/"
ADMIN_BELOW = "/admin/"
BURST = 2  # times the rate


class NotLoopback(RuntimeError):
    """The service would be open to others than this machine."""


def check_open(settings: Settings, host: str) -> None:
    """Raises NotLoopback for a service without API keys that others can reach."""
    reached = settings.published_on or host
    if settings.keys_file is None and not is_loopback(reached):
        raise NotLoopback(
            f"address {reached} can be reached from elsewhere and there are no API keys: make one with `mdmt keys new` and set "
            "MDMT_KEYS_FILE, or bind 127.0.0.1. Where a container's port is published on loopback only, set MDMT_PUBLISHED_ON=127.0.0.1"
        )


def is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(PUBLIC_BELOW)


class Names:
    """Names under which the service may be asked: those of this machine's loopback and of `MDMT_HOSTS`; with API keys and without that
    setting any, since a page that a name was rebound for has no key."""

    def __init__(self, settings: Settings) -> None:
        self._any = settings.keys_file is not None and not settings.names
        self._listed = frozenset(settings.names)

    def check(self, given: list[str]) -> None:
        """The Host headers of a request. Raises ProblemError `unknown-host`."""
        if not self._any and not is_own_name(given, self._listed):
            detail = "Asked under a name that is not this service's. Ask 127.0.0.1 or localhost, or set MDMT_HOSTS to the names it has."
            raise ProblemError("unknown-host", detail)


class Bucket:
    """A token bucket: `rate` per second in the long run, `BURST` seconds' worth at once, and never less than one."""

    def __init__(self, rate: float) -> None:
        self._rate, self._most, self._at = rate, max(1.0, BURST * rate), monotonic()
        self._tokens = self._most

    def wait(self) -> float:
        """Take a token and return 0, or the seconds until there is one."""
        now = monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def owe(self, count: int) -> None:
        """Take tokens that may not be there yet: what comes next waits for them."""
        self._tokens -= count


class Authorization:
    """Middleware: lets a request through with `request.state.client` set to who asks, or answers 401, 403 or 429."""

    def __init__(self, app: ASGIApp, settings: Settings, ring: KeyRing | None) -> None:
        self._app, self._rate, self._ring = app, settings.rate, ring
        self._names = Names(settings)
        self._buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope, receive)
            refusal = self._refusal(request)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, request: Request) -> ProblemResponse | None:
        request.state.client = "" if self._ring is None else request.client.host if request.client else "unknown"
        try:
            self._check(request)
        except ProblemError as error:
            return problem(request, error.code, error.detail, error.headers)
        return None

    def _check(self, request: Request) -> None:
        self._names.check(request.headers.getlist("host"))
        if request.method not in READING and _from_elsewhere(request):
            raise ProblemError("cross-origin", "A page of another site may not ask this service. Open the service's own page.")
        if self._ring is None or is_public(request.scope["path"]):
            return
        key = self._key(request)
        request.state.client = request.state.key = key.id
        if not key.allows("admin" if request.scope["path"].startswith(ADMIN_BELOW) else "predict"):
            raise ProblemError("wrong-scope", "This needs a key with scope admin.")
        bucket = request.state.bucket = self._buckets.setdefault(key.id, Bucket(self._rate))
        wait = bucket.wait()
        if wait:
            raise ProblemError(
                "too-many-requests", f"More than {self._rate:g} requests or films per second of this key.", retry_after=wait
            )

    def _key(self, request: Request) -> Key:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key", "")
        try:
            assert self._ring is not None
            key = self._ring.find(token)
        except KeyFileError as error:
            log.error("nobody is let in: %s", error)
            key = None
        if key is None:
            detail = "Send a key of this service as `Authorization: Bearer …` or `X-API-Key`."
            raise ProblemError("no-key", detail, headers={"WWW-Authenticate": 'Bearer realm="mdmt"'})
        return key


def charge(request: Request, films: int) -> None:
    """Count the films of one request as so many requests of its key; they are answered, and the next request waits the longer."""
    bucket: Bucket | None = getattr(request.state, "bucket", None)
    if bucket is not None:
        bucket.owe(films - 1)


def _from_elsewhere(request: Request) -> bool:
    headers = request.headers
    return is_from_elsewhere(headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site"))
