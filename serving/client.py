"""The service's client for the command line: standard library only."""

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 60
START_SECONDS = 180  # a first start tries the version and compares engines, beside whatever else the machine does
KEY = "MDMT_API_KEY"  # in the environment, because arguments can be read by every user of a machine


class NoAnswer(RuntimeError):
    """The service is not there, not ready in time, or refused; says which."""


class Refused(NoAnswer):
    """The service is there and refuses: `status` of HTTP, and `problem` as it says why (problem+json)."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('title')}: {problem.get('detail')}")
        self.status, self.problem = status, problem


def post_film(url: str, file: Path) -> dict[str, Any]:
    """POST one film to /predict and return the JSON answer; a refusal raises NoAnswer with its detail."""
    if not file.is_file():
        raise NoAnswer(f"no file {file}")
    try:
        return ask(url, "/predict", file.read_bytes())
    except Refused as error:
        raise NoAnswer(f"{file.name}: {error}") from error


def ask(url: str, path: str, data: bytes | None = None) -> dict[str, Any]:
    """GET, or POST `data`, with the API key in MDMT_API_KEY where one is set; the JSON answer.

    Waits while the service asks for patience (429 or 503 with Retry-After), a minute at most. Raises Refused, or NoAnswer where no
    service is.
    """
    headers = {"Content-Type": "application/octet-stream"} if data is not None else {}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(f"{url.rstrip('/')}{path}", data=data, headers=headers)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            pause = float(error.headers.get("Retry-After", "inf")) if error.code in (429, 503) else float("inf")
            if time.monotonic() + pause > deadline:
                raise Refused(error.code, _problem(error)) from error
            time.sleep(pause)
        except OSError as error:
            raise NoAnswer(f"no service answers at {url}: start it with `mdmt serve`") from error


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    """What a refusal says of itself; of one that a proxy on the way wrote, its status in words."""
    try:
        problem: dict[str, Any] = json.load(error)
        return problem
    except ValueError:
        return {"title": error.reason, "detail": "not an answer of this service"}


def wait_until_ready(url: str, seconds: float = START_SECONDS) -> None:
    """Return when /readyz says so; raises NoAnswer with the service's own reason after `seconds`."""
    deadline, reason = time.monotonic() + seconds, "it does not listen"
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as error:
            reason = str(json.load(error).get("detail"))
        except (urllib.error.URLError, TimeoutError):
            pass
        time.sleep(0.2)
    raise NoAnswer(f"the service at {url} was not ready after {seconds:.0f} s: {reason}")
