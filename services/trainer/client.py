"""The training service from the other side: what `mdmt submit`, `status`, `cancel` and `logs` ask it."""

import time
from collections.abc import Iterator
from typing import Any

import requests

from services.trainer.states import OVER

SECONDS = (5, 60)  # to connect, to answer
GIVE_UP_SECONDS = 120.0  # following: a service that is restarted is waited for
LOOK_SECONDS = 1.0
QUEUED = 202


class ServiceRefused(RuntimeError):
    """The service refused, or cannot be reached; says why and what to do."""


class ServiceAway(ServiceRefused):
    """Nobody answers at the address, or not yet."""


class Client:
    """One service by its base URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def submit(self, recipe: str | dict[str, Any], data: str | None, promote: bool) -> tuple[dict[str, Any], bool]:
        """The protocol, and whether it is queued by this; else it waits or works already, and its `promote` is this one now."""
        answer = self._ask("POST", "/protocols", json={"recipe": recipe, "data": data, "promote": promote})
        return answer.json(), answer.status_code == QUEUED

    def all(self) -> list[dict[str, Any]]:
        return self._ask("GET", "/protocols").json()  # type: ignore[no-any-return]

    def get(self, id: str) -> dict[str, Any]:
        return self._ask("GET", f"/protocols/{self.full(id)}").json()  # type: ignore[no-any-return]

    def cancel(self, id: str) -> dict[str, Any]:
        return self._ask("DELETE", f"/protocols/{self.full(id)}").json()  # type: ignore[no-any-return]

    def log(self, id: str, offset: int) -> tuple[bytes, int]:
        """Some of the log from `offset` on, and where to go on."""
        answer = self._ask("GET", f"/protocols/{self.full(id)}/logs", params={"offset": offset})
        return answer.content, int(answer.headers["Next-Offset"])

    def full(self, id: str) -> str:
        """An id from its first digits."""
        if len(id) == 12:
            return id
        found = [line["id"] for line in self.all() if line["id"].startswith(id)]
        if len(found) != 1:
            raise ServiceRefused(f"{len(found)} protocols have an id that begins with {id!r}; `mdmt status` lists them")
        return str(found[0])

    def follow(self, id: str) -> Iterator[dict[str, Any]]:
        """How the protocol stands, about every second, until it is over."""
        id, answered = self.full(id), time.monotonic()
        while True:
            try:
                answer = self.get(id)
            except ServiceAway:
                if time.monotonic() - answered > GIVE_UP_SECONDS:
                    raise
            else:
                answered = time.monotonic()
                yield answer
                if answer["state"] in OVER:
                    return
            time.sleep(LOOK_SECONDS)

    def _ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            answer = requests.request(method, self._url + path, timeout=SECONDS, **arguments)
        except requests.RequestException as error:
            raise ServiceAway(
                f"no training service answers at {self._url} ({type(error).__name__}): start it with `mdmt trainer`, or name another "
                "with --url or MDMT_TRAINER_URL"
            ) from error
        if answer.ok:
            return answer
        refusal = ServiceAway if answer.status_code == 503 else ServiceRefused
        raise refusal(f"the training service refused: {_said(answer)}")


def _said(answer: requests.Response) -> str:
    """The words of a problem, field by field where it has them."""
    if not answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return f"{answer.status_code} {answer.reason}"
    body = answer.json()
    fields = "".join(f"\n  {e['field']}: {e['message']}" for e in body.get("errors", ()))
    return f"{body['title']}{fields or ': ' + body['detail']}"
