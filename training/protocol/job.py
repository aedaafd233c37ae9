"""A unit and the places it needs: what an executor sends to a worker. Data, never code."""

from pathlib import Path

from pydantic import BaseModel

from training.protocol.plan import Unit


class Job(BaseModel):
    """`stores`: film store by cohort; `parent_run`: MLflow run of the unit's group; `threads`: size of torch's pool."""

    unit: Unit
    stores: dict[str, Path]
    tracking_uri: str
    home: Path
    parent_run: str
    threads: int = 1
