"""A unit and the places it needs: what an executor sends to a worker. Data, never code."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from training.protocol.plan import Unit

Event = dict[str, Any]  # what a worker says of a unit: {"event": "epoch" | "done" | "failed", "unit": fingerprint, …}


class Job(BaseModel):
    """`stores`: film store by cohort; `parent_run`: MLflow run of the unit's group; `threads`: size of torch's pool."""

    unit: Unit
    stores: dict[str, Path]
    tracking_uri: str
    home: Path
    parent_run: str
    threads: int = 1
