"""What runs on a node of a cluster, inside a Ray task. Nothing here knows of Ray."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from services.executors.ending import end_softly, last_lines

ROOT = Path(__file__).parents[2]
LOOK_SECONDS, STOP_SECONDS = 0.1, 7.0


class Ended(NamedTuple):
    """Exit code as a shell counts it, and the end of what it printed."""

    code: int
    said: str


class Seen(NamedTuple):
    """What a node makes of the state folder and of a unit: `note` is what it read there, or why it could not read or write."""

    host: str
    note: str
    fingerprint: str
    versions: str


def run_child(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Ended:
    """Python with these arguments, as a child: when it crashes, Ray does not. Its output is appended to `log`.

    A cancelled task sends it SIGTERM; a task that is killed takes it along, for the child sees to that itself (`die_with_parent`).
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begun = output.tell()
        child = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment),
        )  # fmt: skip
    try:
        while (code := child.poll()) is None:  # a blocking wait would not hear of the cancellation
            time.sleep(LOOK_SECONDS)
    finally:
        end_softly(child, STOP_SECONDS)
    with log.open("rb") as printed:
        printed.seek(begun)
        said = last_lines(printed.read().decode(errors="replace"))
    return Ended(code if code >= 0 else 128 - code, said)


def look(note: Path, answer: Path, unit: str) -> Seen:
    """Read `note`, write it to `answer`, and compute the fingerprint of the unit (JSON) with what is installed here."""
    from training.protocol.unit import Unit

    try:
        text = note.read_text()
        answer.write_text(text)
    except OSError as error:
        text = str(error)
    return Seen(socket.gethostname(), text, Unit.model_validate_json(unit).fingerprint, versions())


def versions() -> str:
    """Of what enters a fingerprint, for people."""
    from training.protocol.unit import REVISION

    return f"code revision {REVISION}, " + ", ".join(
        f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "timm")
    )
