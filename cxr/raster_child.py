"""The part of `cxr.decoding_child` that decodes PNG and JPEG: what a child answers to `cxr.raster_apart`.

A request is REQUEST and the file. The answer is DECODED, the length of a JSON object as LENGTH packs it, that object and the samples; or
REFUSED and why, in the same way.
"""

import json
import resource
import signal
import socket
import sys
from importlib import import_module
from math import ceil, inf
from typing import Any

import numpy as np
from PIL import Image

from cxr import decoding_child
from cxr.decoding_child import DECODED, FORMATS, LENGTH, PIXELS_PER_SECOND, PROCESSOR_SECONDS, REFUSED, REQUEST, fill
from cxr.errors import FilmError
from cxr.radiograph import Limits
from cxr.raster import read_raster

# What Pillow imports when it first needs it, and a child could not: it opens no file.
Image.preinit()
for _name in ("MpoImagePlugin", "TiffImagePlugin"):  # a JPEG of several pictures, EXIF
    import_module(f"PIL.{_name}")


def serve(connection: socket.socket) -> None:
    """One file after the other until the parent hangs up. The wait for the next is not limited."""
    request = bytearray(REQUEST.size)
    signal.setitimer(signal.ITIMER_REAL, 0)
    while fill(connection, memoryview(request)):
        width, height, form, size, files = REQUEST.unpack(request)
        _limit_time(width * height, files)
        data = bytearray(size)
        if not fill(connection, memoryview(data)):
            return
        for part in _told(bytes(data), FORMATS[form], width, height):
            connection.sendall(part)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_time(pixels: int, files: int) -> None:
    """What a file of so many pixels may take from now on; and, for good from the first file on, what so many files may take together."""
    wall = decoding_child.WALL_SECONDS
    used = ceil(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    known = resource.getrlimit(resource.RLIMIT_CPU)[1]
    together = files * (wall + 1) if known == resource.RLIM_INFINITY else known
    seconds = min(used + PROCESSOR_SECONDS + pixels // PIXELS_PER_SECOND, together)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, together))
    signal.setitimer(signal.ITIMER_REAL, wall)


def _told(data: bytes, source: str, width: int, height: int) -> tuple[bytes | memoryview, ...]:
    """The answer in parts."""
    try:
        limits = Limits(len(data), width * height, 1, sys.maxsize, max_ratio=inf)  # the parent has looked at the header
        film = read_raster(data, source, limits)
    except FilmError as error:
        return REFUSED, *_packed({"code": error.code, "found": error.found, "allowed": error.allowed, "advice": error.advice})
    pixels = np.ascontiguousarray(film.pixels)
    about = {"shape": pixels.shape, "samples": str(pixels.dtype), "bits": film.bits}
    about |= {"photometric": film.photometric, "transforms": film.transforms}
    return DECODED, *_packed(about), pixels.data.cast("B")


def _packed(about: dict[str, Any]) -> tuple[bytes, bytes]:
    text = json.dumps(about).encode()
    return LENGTH.pack(len(text)), text
