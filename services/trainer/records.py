"""Protocols as MLflow knows them, and no other database: one run of kind "protocol" each, in the experiment of its recipe.

RUNNING: to be worked on, by this service or by the one that is started after it. FINISHED, FAILED and KILLED (cancelled): over.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from pydantic import ValidationError

from cxr import durable
from services.trainer.away import is_away
from training import runs
from training.protocol.recipe import Recipe
from training.tracking import KIND, RECIPE, Tracking, TrackingError

STACK, PROTOCOL, DATA, PROMOTE, SUBMITTED, SUMMARY, NOTE = (
    "mdmt.stack", "mdmt.protocol", "mdmt.data", "mdmt.promote", "mdmt.submitted", "mdmt.summary", "mlflow.note.content",
)  # fmt: skip
FILE = "recipe.json"
log = logging.getLogger(__name__)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Order:
    """What was asked for: a recipe on a data folder, and whether the gate may move the alias at the end."""

    recipe: Recipe
    data: Path
    promote: bool

    @property
    def id(self) -> str:
        """12 hex digits: the same recipe on the same data is the same protocol."""
        return hashlib.sha256(f"{self.recipe.digest()}\n{self.data}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Record:
    """A protocol as it was found. `order` is None when its recipe cannot be read any more."""

    id: str
    status: str
    submitted: str
    note: str
    summary: dict[str, Any]
    recipe_name: str
    order: Order | None


class Records:
    """The protocols of one installation (`stack`). Every method asks MLflow, and raises what MLflow raises when it is away. A run, or its
    experiment, may be deleted by a person at any time: it is not there any more."""

    def __init__(self, tracking: Tracking, stack: str) -> None:
        self._tracking, self._stack = tracking, stack

    def folder(self, protocol: str) -> Path:
        """Where a protocol's recipe, log and report lie."""
        return self._tracking.home / "protocols" / protocol

    def all(self) -> list[Record]:
        """Every protocol, in the order of submission."""
        records = (self._record(run) for run in self._found(f"tags.`{KIND}` = 'protocol'"))
        return sorted(records, key=lambda record: record.submitted)

    def open(self, order: Order) -> None:
        """Make the protocol's run RUNNING; a new one, unless there is one already."""
        path = self.folder(order.id) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write(path, order.recipe.model_dump_json(indent=1).encode())  # first: a run without its recipe is of no use
        client = self._tracking.client
        tags = {DATA: str(order.data), PROMOTE: json.dumps(order.promote), SUBMITTED: now()}
        run_id = self._run_id(order.id)
        if run_id is not None:
            for key, value in tags.items():
                client.set_tag(run_id, key, value)
            client.update_run(run_id, status="RUNNING")
        else:
            own = {KIND: "protocol", PROTOCOL: order.id, STACK: self._stack, RECIPE: order.recipe.digest()}
            experiment_id = self._tracking.experiment(f"mdmt-{order.recipe.name}")
            name = {"mdmt.recipe": order.recipe.name}
            run = client.create_run(experiment_id, tags=own | tags | name, run_name=f"protocol {order.id}")
            run_id = run.info.run_id
        client.log_artifact(run_id, str(path))

    def reopen(self, order: Order) -> None:
        """A finished protocol has work again; one whose run was deleted has a new one."""
        run_id = self._run_id(order.id)
        if run_id is None:
            self.open(order)
        else:
            self._tracking.client.update_run(run_id, status="RUNNING")

    def end(self, protocol: str, status: str, note: str, summary: Mapping[str, Any]) -> None:
        """FINISHED, FAILED or KILLED, with the reason and the counts that remain when this process is gone. Whoever deleted its run
        does not want to keep them: the end is then in the log alone."""
        run_id = self._run_id(protocol)
        if run_id is None:
            log.warning("protocol %s is %s; its run in MLflow was deleted, and is not told", protocol, status)
            return
        self._tracking.client.set_tag(run_id, SUMMARY, json.dumps(summary))
        runs.close(self._tracking.client, run_id, status, note or " ")

    def _run_id(self, protocol: str) -> str | None:
        found = self._found(f"tags.`{PROTOCOL}` = '{protocol}'")
        return str(found[0].info.run_id) if found else None

    def _found(self, wanted: str) -> list[Run]:
        client = self._tracking.client
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments, f"{wanted} and tags.`{STACK}` = '{self._stack}'", max_results=1000))

    def _record(self, run: Run) -> Record:
        tags = run.data.tags
        return Record(
            id=tags[PROTOCOL],
            status=run.info.status,
            submitted=tags[SUBMITTED],
            note=tags.get(NOTE, "").strip(),
            summary=json.loads(tags.get(SUMMARY, "{}")),
            recipe_name=tags["mdmt.recipe"],
            order=self._order(run),
        )

    def _order(self, run: Run) -> Order | None:
        tags = run.data.tags
        path = self.folder(tags[PROTOCOL]) / FILE
        try:
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                self._tracking.download(run.info.run_id, FILE, path.parent)
            recipe = Recipe.model_validate_json(path.read_bytes())
        except (TrackingError, OSError, ValidationError) as error:
            if is_away(error):
                raise
            return None
        return Order(recipe, Path(tags[DATA]), json.loads(tags[PROMOTE]))
