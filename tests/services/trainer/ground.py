"""What the tests of the training service stand on: a small phantom, an executor that does as it is told, and services to talk to."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from fastapi.testclient import TestClient
from mlflow.entities import Run

from services.executors.executor import Request, StageFailed, Stopped
from services.trainer.app import create_app
from services.trainer.records import Order
from services.trainer.settings import Settings
from tests.training.protocol.tiny import tiny_recipe
from training.data.cohorts.phantom import PhantomSpec
from training.protocol.job import Job
from training.protocol.recipe import Recipe
from training.protocol.schedule import Schedule
from training.tracking import Tracking, default_uri

ROOT = Path(__file__).parents[3]
PHANTOM = PhantomSpec.small(prognosis_films=24, severity_films=24, lung_pairs=10, pixels=(128, 192), canvas=192, seed=1)
OVER = ("finished", "failed", "cancelled")


def recipe_on(data: Path, **changes: Any) -> Recipe:
    """The tiny recipe on a phantom."""
    return tiny_recipe(data=(str(data),), **changes)


def submission(recipe: Recipe, **more: Any) -> dict[str, Any]:
    return {"recipe": recipe.model_dump(mode="json"), **more}


@dataclass
class Obedient:
    """An executor whose stages do what the test says: wait for ever, fail, or be done. It never has units."""

    stop: threading.Event
    does: Callable[["Obedient", Sequence[str]], None]
    stages: list[list[str]] = field(default_factory=list)

    def plan(self, jobs: Sequence[Job]) -> tuple[Request, ...]:
        return ()

    def run(self, schedule: Schedule) -> None:
        raise AssertionError("no test gives it units")

    def stage(self, arguments: Sequence[str]) -> None:
        self.stages.append(list(arguments))
        self.does(self, arguments)


def wait_for_ever(executor: Obedient, _: Sequence[str]) -> None:
    executor.stop.wait()
    raise Stopped("told to stop")


def fail(_: Obedient, arguments: Sequence[str]) -> None:
    raise StageFailed(f"`mdmt {' '.join(arguments[:2])}` ended with code 1:\nno room for the U-Net")


@contextmanager
def service(
    settings: Settings, does: Callable[[Obedient, Sequence[str]], None], at_start: Order | None = None
) -> Iterator[TestClient]:
    """The application in this process, with the obedient executor."""
    app = create_app(settings, lambda _, stop: Obedient(stop, does), at_start)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client
    assert app.state.driver.join(10)


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """What the condition gave once it held. Fails after a while."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, f"not within {seconds} s"
        time.sleep(0.05)
    return found


def state_of(client: TestClient, id: str) -> str:
    return str(client.get(f"/protocols/{id}").json()["state"])


class Process:
    """`mdmt trainer` as a process of its own, on a port that the system chose."""

    def __init__(self, home: Path, log: Path, **environment: str) -> None:
        self._log = log.open("a+")
        place = self._log.tell()
        own = {
            "MDMT_HOME": str(home),
            "MDMT_SLOTS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MDMT_", "MLFLOW_TRACKING"))}
        self.popen = subprocess.Popen(
            [sys.executable, str(ROOT / "mdmt.py"), "trainer", "--port", "0"], cwd=ROOT, stderr=self._log, stdout=self._log,
            env=clean | own | {"COLUMNS": "200"} | environment,
        )  # fmt: skip

        def url() -> str | None:
            assert self.popen.poll() is None, log.read_text()[-3000:]
            with log.open() as file:
                file.seek(place)
                words = file.read().split("training service: ")[1:]
            return words[0].split("/docs")[0] if words and "/docs" in words[0] else None

        try:
            self.url = until(url, 300)
        except BaseException:
            self.kill()
            raise

    def ask(self, method: str, path: str, **arguments: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=30, **arguments)

    def submit(self, recipe: Recipe) -> dict[str, Any]:
        """Tried again while MLflow is being read."""
        answer = until(lambda: (a := self.ask("POST", "/protocols", json=submission(recipe))).status_code != 503 and a, 300)
        assert answer.ok, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def get(self, id: str) -> dict[str, Any]:
        answer = self.ask("GET", f"/protocols/{id}")
        return answer.json() if answer.ok else {"state": "unknown", "units": None, "stage": None}

    def wait_over(self, id: str, seconds: float = 280) -> dict[str, Any]:
        return until(lambda: (a := self.get(id))["state"] in OVER and a, seconds)  # type: ignore[no-any-return]

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def terminate(self) -> tuple[int, float]:
        """Exit code, and how long it took to end."""
        began = time.monotonic()
        self.popen.send_signal(signal.SIGTERM)
        code = self.popen.wait(30)
        return code, time.monotonic() - began

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self.popen.poll() is None:
            self.terminate()
        self._log.close()


def frames(text: str) -> list[dict[str, Any]]:
    """Events of a stream, comments and pauses left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            found.append({"id": fields["id"], "event": fields["event"], "data": json.loads(fields["data"])})
    return found


def records(settings: Settings) -> dict[str, Run]:
    """Protocol → its run."""
    client = Tracking(default_uri(settings.home), settings.home, ask=False).client
    experiments = [e.experiment_id for e in client.search_experiments()]
    found = client.search_runs(experiments, "tags.`mdmt.kind` = 'protocol'")
    assert len({run.data.tags["mdmt.protocol"] for run in found}) == len(found)
    return {run.data.tags["mdmt.protocol"]: run for run in found}
