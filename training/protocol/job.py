"""A unit and the places it needs: what an executor sends to a worker. Data, never code."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from training.protocol.recipe import Running
from training.protocol.unit import Unit

# What a worker says. Of a unit, each with its "unit": "claimed" (fence), "epoch" (epoch, figures), "trained" (the outcome is safe on
# this machine, units that start from it may begin), "done" (run), "failed" (kind, reason, quarantined), "busy" (another process has
# it), "lost" (another process took it over), "disk-full" (free_gib), "tracking-away" (reason), "tracking-back". Of itself: "idle".
# A study says besides: "files-lost" (run), of a finished unit that is trained again because files of its run are gone.
Event = dict[str, Any]


class Job(BaseModel):
    """`stores`: film store by cohort; `parent_run`: MLflow run of the unit's group; `parents`: MLflow run by fingerprint, where known;
    `weights`: folder of ImageNet weights; `keep_weights`: whether the run keeps the network's weights."""

    unit: Unit
    stores: dict[str, Path]
    tracking_uri: str
    claims_uri: str
    home: Path
    weights: Path
    parent_run: str
    parents: dict[str, str] = {}
    keep_weights: bool = True
    running: Running = Running()
