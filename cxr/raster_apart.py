"""PNG or JPEG bytes → Radiograph, decoded in a disposable child process: `cxr.raster` there, only its result here.

Beside the header this process parses nothing of the file, and of the child's answer (`cxr.raster_child`) it believes no more than a child
may say that a file has taken over. A child is thrown away after so many files, and with the first that it gives no good answer to.
"""

import io
import json
import os
import select
import socket
import time
from collections import deque
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image

from cxr import errors
from cxr.decoding import with_nursery
from cxr.decoding_child import DECODED, FORMATS, LENGTH, PICTURES, REFUSED, REQUEST, WALL_SECONDS, fill
from cxr.errors import FilmError, TruncatedFile
from cxr.radiograph import Limits, Radiograph
from cxr.raster import checked_header

MOST_TOLD = 4_096  # bytes of JSON
SAMPLES = ("uint8", "uint16", "float32")
REFUSALS: Final = {
    kind.code: kind for kind in (errors.TruncatedFile, errors.UnsupportedFormat, errors.FileTooLarge, errors.NotGray)
}


class _Child(NamedTuple):
    """A connection to a process that waits for its next file, how many it has had, and who may use it: not a fork's copy."""

    connection: socket.socket
    files: int
    owner: int

    def waits(self) -> bool:
        """Not where it has ended, or says what nobody has asked for."""
        readable = select.poll()  # `select` itself knows no descriptor beyond 1,023
        readable.register(self.connection, select.POLLIN)
        return self.owner == os.getpid() and not readable.poll(0)


_idle: deque[_Child] = deque()


def read_raster_apart(data: bytes, source: str, limits: Limits) -> Radiograph:
    """What `read_raster` gives and raises for a PNG or JPEG; TruncatedFile too where the child ends at one of its limits."""
    header = checked_header(data, source, limits)
    if header is None:
        raise ValueError(f"{source}: only PNG and JPEG are decoded apart")
    child = _child()
    request = REQUEST.pack(header.width, header.height, FORMATS.index(source), len(data), limits.files_per_decoder)
    found = _answer(child.connection, request, data, source, limits)
    if found is None or child.files + 1 >= limits.files_per_decoder:
        child.connection.close()
    else:
        _idle.append(child._replace(files=child.files + 1))
    if found is None:
        found = TruncatedFile(
            f"a {source.upper()} that does not decode within the limits", "a complete file", "Export or upload it again."
        )
    if isinstance(found, FilmError):
        raise found
    return found


def warm_up(files: int) -> None:
    """Have a child ready that is to have so many files, so that the first film does not wait for the imports of what decodes it."""
    blank = io.BytesIO()
    Image.new("L", (64, 64)).save(blank, "PNG")
    read_raster_apart(blank.getvalue(), "png", Limits(files_per_decoder=files))


def _child() -> _Child:
    while True:
        try:
            child = _idle.pop()
        except IndexError:
            return _Child(with_nursery(lambda nursery: nursery.child(PICTURES)), 0, os.getpid())
        if child.waits():
            return child
        child.connection.close()


def _answer(connection: socket.socket, request: bytes, data: bytes, source: str, limits: Limits) -> Radiograph | FilmError | None:
    """What a child makes of a file; None where it ended instead, or answered what no child of ours does."""
    try:
        connection.settimeout(WALL_SECONDS + 1)  # the child's own limit ends it first
        connection.sendall(request)
        connection.sendall(data)
        outcome, until = connection.recv(1), time.monotonic() + WALL_SECONDS + 1
        if outcome == DECODED:
            return _radiograph(connection, _said(connection, until), source, limits, until)
        if outcome == REFUSED:
            return _refusal(_said(connection, until))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        pass
    return None


def _said(connection: socket.socket, until: float) -> dict[str, Any]:
    (length,) = LENGTH.unpack(_exactly(connection, LENGTH.size, until))
    if length > MOST_TOLD:
        raise ValueError("a child tells too much")
    said: dict[str, Any] = json.loads(_exactly(connection, length, until))
    return said


def _exactly(connection: socket.socket, size: int, until: float) -> bytearray:
    found = bytearray(size)
    if not fill(connection, memoryview(found), until):
        raise ValueError("a child ended in the middle of its answer")
    return found


def _refusal(said: dict[str, Any]) -> FilmError:
    return REFUSALS[said["code"]](str(said["found"]), str(said["allowed"]), str(said["advice"]))


def _radiograph(connection: socket.socket, said: dict[str, Any], source: str, limits: Limits, until: float) -> Radiograph:
    height, width = (int(side) for side in said["shape"])
    limits.check_geometry(width, height)  # before anything is allocated
    if said["samples"] not in SAMPLES:
        raise ValueError("a child names other samples")
    pixels = np.empty((height, width), said["samples"])
    if not fill(connection, pixels.data.cast("B"), until):
        raise ValueError("a child gives fewer samples")
    return Radiograph(pixels, int(said["bits"]), source, str(said["photometric"]), tuple(map(str, said["transforms"])))
