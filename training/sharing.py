"""What was measured of processes that train side by side on one device, as files of the state folder, and what follows from it.

A table is measured once per home, kind of device and question (`side_by_side.py`), and then stands. Delete its file to measure
again. No torch here: whoever decides how many units share a device trains none.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxr import durable
from cxr.host import cores, processor
from training.settings import Training

FOLDER = "calibration"
RAISES = 1.05  # times the films per second: what is less is taken for noise, and one process more is then one too many
HOW = ("precision", "compile", "tf32", "deterministic")  # of `Training`: what decides the speed of a step beside its batch


class TableDamaged(ValueError):
    """A file that should hold a table does not."""


class Asked(BaseModel):
    """The training that the processes do. `batch`: films that are on the device at a time; `threads` of one process on the host."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    size: int
    batch: int
    device: Literal["cpu", "cuda"]
    threads: int
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    compile: bool = False
    tf32: bool = False
    deterministic: bool = False
    torch: str = Field(default_factory=lambda: metadata.version("torch"))

    @property
    def training(self) -> Training:
        """Settings of a training that never ends by itself."""
        return Training(batch_size=self.batch, max_epochs=10**9, **{name: getattr(self, name) for name in HOW})

    def __str__(self) -> str:
        how = [self.precision, *(name for name in HOW[1:] if getattr(self, name))]
        return f"{self.backbone} ({self.size} px, batch {self.batch}, threads {self.threads}, {' '.join(how)})"


class Row(BaseModel):
    """`films_per_second` of all processes together; `memory` is the peak of the largest one, bytes (see `learning/sharing.py`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int = Field(ge=1)
    films_per_second: float = Field(gt=0)
    memory: int = Field(ge=0)


class Table(BaseModel):
    """Rows of 1, 2, 3, … processes. `kind`: of the device, in words. `out_of_memory`: how one process more came to its end, if it did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: Asked
    kind: str
    rows: tuple[Row, ...] = Field(min_length=1)
    out_of_memory: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether one process more was tried and was no gain, or had no memory; else whoever measured wanted to know no more."""
        rates = [row.films_per_second for row in self.rows]
        return bool(self.out_of_memory) or (len(rates) > 1 and rates[-1] < RAISES * rates[-2])


def kind_of_cpu() -> str:
    """This host, as far as it decides how many processes it can feed."""
    return f"{processor()}, {cores()} cores"


def file_of(home: Path, asked: Asked, kind: str) -> Path:
    """Where the table of this question is kept."""
    name = hashlib.sha256(json.dumps([asked.model_dump(), kind], sort_keys=True).encode()).hexdigest()[:16]
    return home / FOLDER / f"sharing-{asked.backbone}-{asked.size}-{name}.json"


def write(home: Path, table: Table) -> None:
    """Keep a table, unless there is one for the same question: that one stands."""
    durable.write_once(file_of(home, table.asked, table.kind), table.model_dump_json(indent=2).encode())


def tables(home: Path) -> dict[str, dict[Asked, Table]]:
    """Every table of this home, by kind of device. Raises TableDamaged naming the file."""
    found: dict[str, dict[Asked, Table]] = defaultdict(dict)
    for file in sorted((home / FOLDER).glob("sharing-*.json")):
        try:
            table = Table.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise TableDamaged(f"{file} is no table that this version can read: delete it, and measure again") from error
        found[table.kind][table.asked] = table
    return dict(found)


def expected_seconds(work: Mapping[Asked, float], known: Mapping[Asked, Table], processes: int) -> float:
    """Of `work` (films that go through the loop, by what trains on them) on one device that so many processes share."""
    return sum(films / known[asked].rows[processes - 1].films_per_second for asked, films in work.items())


def best(work: Mapping[Asked, float], known: Mapping[Asked, Table]) -> int:
    """The number of processes that does `work` in the least expected time; where the gain is less than 5 %, the smaller number.

    Never more than were seen to have memory in every table, nor than any of them goes on to.
    """
    chosen, least = 1, expected_seconds(work, known, 1)
    for processes in range(2, min(len(known[asked].rows) for asked in work) + 1):
        seconds = expected_seconds(work, known, processes)
        if seconds * RAISES <= least:
            chosen, least = processes, seconds
    return chosen


def is_settled(work: Iterable[Asked], known: Mapping[Asked, Table]) -> bool:
    """Whether `best` would choose no more if more had been measured: what bounds it is a table that is whole."""
    bound = min(len(known[asked].rows) for asked in work)
    return any(known[asked].is_whole for asked in work if len(known[asked].rows) == bound)
