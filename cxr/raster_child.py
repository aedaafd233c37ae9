"""The part of `cxr.decoding_child` that decodes PNG and JPEG: what a child answers to `cxr.raster_apart`.

A request is REQUEST (width and height that the header promises, format, bytes of the file) and the file. The answer is DECODED, the
length of a JSON object as LENGTH packs it, that object and the samples; or REFUSED and why, in the same way.
"""

import json
import socket
import struct
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from PIL import Image

from cxr.decoding_child import DECODED
from cxr.errors import FilmError
from cxr.radiograph import Limits
from cxr.raster import read_raster

REFUSED = b"R"
FORMATS = ("png", "jpeg")
REQUEST, LENGTH = struct.Struct("<IIII"), struct.Struct("<I")

# What Pillow imports when it first needs it, and a child could not: it opens no file.
Image.preinit()
for _name in ("MpoImagePlugin", "TiffImagePlugin"):  # a JPEG of several pictures, EXIF
    import_module(f"PIL.{_name}")


def serve(connection: socket.socket, limit_time: Callable[[int], None]) -> None:
    """One file after the other until the parent hangs up; `limit_time` is told the pixels of each, and 0 before the wait for the next."""
    limit_time(0)
    while request := exactly(connection, REQUEST.size):
        width, height, form, size = REQUEST.unpack(request)
        limit_time(width * height)
        for part in _told(bytes(exactly(connection, size)), FORMATS[form], width, height):
            connection.sendall(part)
        limit_time(0)


def exactly(connection: socket.socket, size: int) -> bytearray:
    """So many bytes; none where the other side has hung up before the first. Raises ValueError where it does in the middle."""
    found, got = bytearray(size), 0
    while got < size:
        count = connection.recv_into(memoryview(found)[got:])
        if not count:
            if got:
                raise ValueError("the other side ended in the middle")
            return bytearray()
        got += count
    return found


def _told(data: bytes, source: str, width: int, height: int) -> tuple[bytes | memoryview, ...]:
    """The answer in parts."""
    try:
        film = read_raster(data, source, Limits(len(data), width * height, 1, sys.maxsize))  # the parent has looked at the header
    except FilmError as error:
        return REFUSED, *_packed({"code": error.code, "found": error.found, "allowed": error.allowed, "advice": error.advice})
    pixels = np.ascontiguousarray(film.pixels)
    about = {"shape": pixels.shape, "samples": str(pixels.dtype), "bits": film.bits}
    about |= {"photometric": film.photometric, "transforms": film.transforms}
    return DECODED, *_packed(about), pixels.data.cast("B")


def _packed(about: dict[str, Any]) -> tuple[bytes, bytes]:
    text = json.dumps(about).encode()
    return LENGTH.pack(len(text)), text
