"""The nursery: a warm process that forks one child per frame or picture, and the body of that child. Run as a script by `cxr.decoding`.

On some damaged streams gdcm's JPEG code ends the whole process by abort(), which no `except` survives, CharLS computes for seconds
over a few kilobytes, OpenJPEG allocates what a header asks for, and any decoder written in C may hold a flaw that nobody knows yet. So
each is decoded by a process of its own with limits of memory, processor time and wall time, without the right to open a file or a
connection. The nursery itself reads no byte of a film.

Over the control socket (descriptor 0) comes one byte, the last part of a frame's transfer syntax or PICTURES, and with it the descriptor
of a connection. Over that the child says STARTED, reads HEADER and the frame, and answers DECODED and the samples, or nothing. A child for
PNG and JPEG is used for several of them, one after the other (`cxr.raster_child`): a new one costs as much time as a small film.
"""

import os
import resource
import signal
import socket
import struct
import sys
import time
from importlib import import_module
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Any

HEADER = struct.Struct("<III")  # width, height, bits per sample
MEMORY = 1536 * 1024 * 1024  # bytes of address space
PROCESSOR_SECONDS, PIXELS_PER_SECOND, WALL_SECONDS = 2, 5_000_000, 10  # a lossless film takes a third of that on an old core
STARTED, DECODED, DECODER_MISSING = b"S", b"D", b"M"
GDCM, OPENJPEG, PILLOW = "gdcm", "openjpeg", "PIL.Image"
PICTURES, FORMATS = 1, ("png", "jpeg")
REFUSED = b"R"
REQUEST = struct.Struct("<IIIII")  # width, height, place in FORMATS, bytes of the file, and how many files one process is to have
LENGTH = struct.Struct("<I")  # bytes of a JSON object
DECODERS = {
    50: PILLOW,
    51: GDCM,
    57: GDCM,
    70: GDCM,
    80: GDCM,
    81: GDCM,
    90: OPENJPEG,
    91: OPENJPEG,
    PICTURES: "cxr.raster_child",
}


def main() -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a child ended, and none stays a zombie
    sys.path.append(str(Path(__file__).parents[1]))  # behind all others: `cxr`, of which a script in isolated mode knows nothing
    control = socket.socket(fileno=0)
    while True:
        message, connections, _, _ = socket.recv_fds(control, 1, 1)
        if not message:  # whoever started us is gone
            return 0
        decoder = _imported(DECODERS[message[0]])  # before the fork: imported once, for every later child
        if os.fork() == 0:
            control.close()
            _answer(socket.socket(fileno=connections[0]), message[0], decoder)
            os._exit(0)
        os.close(connections[0])


def _imported(name: str) -> Any:
    try:
        module = import_module(name)
    except ImportError:
        return None
    if name == PILLOW:
        module.preinit()  # else it imports its formats when a first picture is opened, which a child cannot do
    return module


def _answer(connection: socket.socket, syntax: int, decoder: Any) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)  # nobody handles the signal: it ends the process
    connection.sendall(STARTED)
    if decoder is None:
        connection.sendall(DECODER_MISSING)
        return
    if syntax == PICTURES:
        decoder.serve(connection)
        return
    stream = bytearray()
    while block := connection.recv(1 << 20):
        stream += block
    width, height, bits = HEADER.unpack_from(stream)
    seconds = PROCESSOR_SECONDS + width * height // PIXELS_PER_SECOND
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    frame = bytes(stream[HEADER.size :])
    decode = {GDCM: _with_gdcm, OPENJPEG: _with_openjpeg, PILLOW: _with_pillow}[DECODERS[syntax]]
    samples = decode(decoder, frame, width, height, bits, syntax)
    connection.sendall(DECODED)
    connection.sendall(samples)


def fill(connection: socket.socket, room: memoryview, until: float = inf) -> bool:
    """Receive as many bytes as there is room for; False where the other side gives fewer or takes longer than `until`, a monotonic time."""
    received = 0
    while received < len(room):
        count = connection.recv_into(room[received:])
        if count == 0 or time.monotonic() > until:
            return False
        received += count
    return True


def _with_pillow(pillow: Any, frame: bytes, width: int, height: int, bits: int, syntax: int) -> bytes:
    return bytes(pillow.open(BytesIO(frame), formats=["JPEG"]).tobytes())


def _with_openjpeg(openjpeg: Any, frame: bytes, width: int, height: int, bits: int, syntax: int) -> bytes:
    return bytes(openjpeg.decode_pixel_data(frame, version=2))


def _with_gdcm(gdcm: Any, frame: bytes, width: int, height: int, bits: int, syntax: int) -> bytes:
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((width, height, 1))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    processes = {
        51: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
        57: gdcm.TransferSyntax.JPEGLosslessProcess14,
        70: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        80: gdcm.TransferSyntax.JPEGLSLossless,
        81: gdcm.TransferSyntax.JPEGLSNearLossless,
    }
    image.SetTransferSyntax(gdcm.TransferSyntax(processes[syntax]))
    # Unsigned here: the caller extends the sign, because these streams know none.
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 if bits <= 8 else 16, bits, bits - 1, 0))
    image.SetDataElement(element)
    samples: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return samples


if __name__ == "__main__":
    sys.exit(main())
