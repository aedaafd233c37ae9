"""What a training writes down after each epoch, so that whatever kills it costs one epoch at most.

A checkpoint is one file: what torch saves, then its SHA-256. It is written beside the old one, synced and renamed, so at every moment
at least one whole checkpoint is in the folder; the one before is kept for the day the newest is damaged. Nothing in it is code.
"""

import errno
import hashlib
import logging
import os
import secrets
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO, Self

import torch

from cxr.durable import sync_folder

NEWEST, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
_UNFINISHED = "checkpoint.{}.writing"
_DIGEST = hashlib.sha256().digest_size
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_log = logging.getLogger(__name__)


class DiskFull(OSError):
    """There was no room for the new checkpoint; the one before is untouched and nothing half-written is left."""


class ForeignCheckpoint(ValueError):
    """The folder holds the checkpoint of another training: going on from it would give numbers that belong to neither."""


def save(folder: Path, state: dict[str, Any]) -> None:
    """Make `state` the newest checkpoint of `folder` (created when absent); the newest so far becomes the previous.

    `state`: tensors, numbers, strings and None, in dicts, lists and tuples. Raises DiskFull (an OSError with its errno) when the disk
    or the quota is full, any other OSError as it is; in each case what `load` finds is what it found before.
    """
    own = secrets.token_hex(8)  # for a writer that has lost its claim may still be writing
    unfinished = folder / _UNFINISHED.format(own)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished.open("xb") as file:
            _write(state, file)
        if (folder / NEWEST).exists():
            (folder / NEWEST).replace(folder / PREVIOUS)
        unfinished.replace(folder / NEWEST)
        sync_folder(folder)
    except OSError as error:
        if error.errno in _NO_SPACE:
            advice = "no room for a checkpoint: free some space and run again, the training goes on from the last one"
            raise DiskFull(error.errno, advice, str(folder)) from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, with its tensors on the CPU; None when there is none.

    A damaged file is logged and removed, so that the next `save` does not keep it in place of a whole one. So is what a killed
    writer left.
    """
    for leftover in folder.glob(_UNFINISHED.format("*")):
        leftover.unlink(missing_ok=True)
    for path in (folder / NEWEST, folder / PREVIOUS):
        if not path.is_file():
            continue
        if _is_whole(path):
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
        _log.warning("%s is damaged (its SHA-256 does not fit its content): it is removed and the one before is used", path.name)
        path.unlink()
    return None


def load_own(folder: Path, identity: str) -> dict[str, Any] | None:
    """`load`, where `save` was given the same "identity". Raises ForeignCheckpoint when the checkpoint is another training's."""
    state = load(folder)
    if state is not None and state["identity"] != identity:
        raise ForeignCheckpoint(
            f"{folder} holds a checkpoint of training {state['identity']!r}, this is {identity!r}: "
            "give each training a folder of its own, or remove the checkpoint"
        )
    return state


class Writer:
    """Checkpoints of one training, each written in a thread while the training goes on; a context manager, which waits at its end.

    None for `folder`: there is nothing to write.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def write(self, state: dict[str, Any]) -> None:
        """Begin to `save` this, which has to stay as it is until `wait`, or the next `write`, returns."""
        self.wait()
        self._thread = Thread(target=self._save, args=(state,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Return when the checkpoint is written; raises what `save` raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _save(self, state: dict[str, Any]) -> None:
        assert self._folder is not None
        try:
            save(self._folder, state)
        except Exception as error:  # noqa: BLE001  raised by `wait`
            self._error = error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join()  # what ends the training is what is raised


class _HashingFile:
    """A file for torch to write to. It holds the first error back: passing through torch it would lose its errno."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self.file.write(data)
            except OSError as error:
                self.error = error
        self.sha.update(data)
        return len(data)

    def flush(self) -> None:
        """Torch asks for it; what counts is the sync at the end."""


def _write(state: dict[str, Any], file: BinaryIO) -> None:
    hashing = _HashingFile(file)
    torch.save(state, hashing)
    if hashing.error is not None:
        raise hashing.error
    file.write(hashing.sha.digest())
    file.flush()
    os.fsync(file.fileno())


def _is_whole(path: Path) -> bool:
    left = path.stat().st_size - _DIGEST
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0:
            piece = file.read(min(left, 1 << 20))
            sha.update(piece)
            left -= len(piece) or left  # the file became shorter meanwhile: the digest will tell
        return file.read() == sha.digest()
