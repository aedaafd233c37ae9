"""The service's client for the command line: standard library only."""

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 60
KEY = "MDMT_API_KEY"  # in the environment, because arguments can be read by every user of a machine


class NoAnswer(RuntimeError):
    """The service is not there, not ready in time, or refused the film; says which."""


def post_film(url: str, file: Path) -> dict[str, Any]:
    """POST one film to /predict and return the JSON answer; with the API key in MDMT_API_KEY, where one is set.

    A refusal (problem+json) raises NoAnswer with its detail.
    """
    if not file.is_file():
        raise NoAnswer(f"no file {file}")
    headers = {"Content-Type": "application/octet-stream"}
    if key := os.environ.get(KEY):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(f"{url.rstrip('/')}/predict", data=file.read_bytes(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        raise NoAnswer(f"{file.name}: {error.code} {problem.get('title')}: {problem.get('detail')}") from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise NoAnswer(f"no service answers at {url}: start it with `mdmt serve`") from error


def wait_until_ready(url: str, seconds: float = TIMEOUT_SECONDS) -> None:
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
