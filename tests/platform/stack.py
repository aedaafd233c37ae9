"""A stack of its own for a test: other names, other ports, other passwords than the one that may be running here."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import free_port
from training.protocol.recipe import Recipe, load_recipe

REPO = Path(__file__).parents[2]
BASES = ("python:3.11-slim-bookworm", "postgres:15-bookworm")
_NUMBERS = itertools.count()  # several stacks may be up at once
PORTS = ("MDMT_MLFLOW_PORT", "MDMT_TRAINER_PORT", "MDMT_SERVING_PORT")


def skip_without_engine() -> None:
    """Skip, with what is missing: an engine, or images to build on."""
    if shutil.which("docker") is None:
        pytest.skip("no container engine: the command docker is not installed")
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            pytest.skip(f"no container engine: `{' '.join(command)}` says {done.stderr.strip().splitlines()[-1:]}")
    for image in BASES:
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=60, check=False).returncode:
            done = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                pytest.skip(f"no base image {image}: `docker pull` says {done.stderr.strip().splitlines()[-1:]}")


class Stack:
    """Compose commands on one installation."""

    def __init__(self, name: str, folder: Path, *overlays: str, **settings: str) -> None:
        self.name, self.folder = name, folder
        subprocess.run([sys.executable, "-m", "services.commands.env", "--folder", folder], cwd=REPO, check=True, timeout=60)
        files = ("docker-compose.yml", *overlays)
        ports = {port: str(free_port()) for port in PORTS}
        own = {"COMPOSE_FILE": ":".join(str(REPO / file) for file in files), "COMPOSE_ENV_FILES": str(folder / ".env")}
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("MDMT_", "MLFLOW_", "COMPOSE_"))}
        self.environment = clean | ports | own | {"MDMT_STACK": name, **settings}
        self.mlflow, self.trainer, self.serving = (f"http://127.0.0.1:{ports[port]}" for port in PORTS)

    def compose(self, *arguments: str, seconds: float = 300, check: bool = True) -> str:
        """Standard output of `docker compose …`; on failure the end of everything that was printed."""
        done = subprocess.run(
            ["docker", "compose", *arguments], cwd=REPO, env=self.environment, capture_output=True, text=True, timeout=seconds,
            check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"docker compose {' '.join(arguments)}: {(done.stdout + done.stderr)[-3000:]}"
        return done.stdout

    def script(self, name: str, folder: Path) -> None:
        """Run docker/<name>.sh as an operator would."""
        done = subprocess.run(
            [REPO / "docker" / f"{name}.sh", folder], cwd=REPO, env=self.environment, capture_output=True, text=True, timeout=600,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def inside(self, service: str, *command: str, check: bool = True) -> str:
        return self.compose("exec", "-T", service, *command, check=check)

    def container(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container."""
        identity = self.compose("ps", "--all", "--quiet", service).strip()
        done = subprocess.run(["docker", "inspect", identity], capture_output=True, text=True, timeout=60, check=True)
        found: dict[str, Any] = json.loads(done.stdout)[0]
        return found

    def health(self, service: str) -> str:
        return str(self.container(service)["State"]["Health"]["Status"])


@contextmanager
def stack(folder: Path, *overlays: str, build: Sequence[str] = (), **settings: str) -> Iterator[Stack]:
    """A stack that is gone at the end, with its volumes; its images stay. `build`: services whose images are made; default: all."""
    skip_without_engine()
    made = Stack(f"mdmt-test-{os.getpid()}-{next(_NUMBERS)}", folder, *overlays, **settings)
    try:
        made.compose("build", "--quiet", *build, seconds=3000)
        yield made
    finally:
        made.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)


def seconds_until(holds: Callable[[], bool], within: float) -> float:
    """Seconds until it holds; fails after `within`."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < within, f"not so within {within:g} s"
        time.sleep(0.2)
    return time.monotonic() - begun


def status(url: str, data: bytes | None = None, **headers: str) -> int:
    """HTTP status of a GET, or of a POST of JSON."""
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def predict(url: str, film: bytes) -> dict[str, Any]:
    """The answer to one film."""
    request = urllib.request.Request(f"{url}/predict", film, {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def small_recipe(name: str, folds: int, epochs: int, **changes: Mapping[str, Any]) -> Recipe:
    """The demo recipe with the smallest backbone, plain cross-validation and a fixed number of epochs; `changes` of its parts by name."""
    demo = load_recipe("demo").model_dump()
    parts: dict[str, Mapping[str, Any]] = {"training": {"max_epochs": epochs, "patience": epochs, "warmup_epochs": 0}, **changes}
    return Recipe.model_validate(
        demo
        | {part: demo[part] | values for part, values in parts.items()}
        | {"name": name, "registered_name": name}
        | {"backbones": [{"name": "shufflenet_v2_x0_5", "weights": "scratch"}], "schemes": [{"kind": "cv", "folds": folds}]}
    )
