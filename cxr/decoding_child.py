"""The nursery: a warm process that forks one child per frame, and the body of that child. Run as a script by `cxr.decoding`.

On some damaged streams gdcm's JPEG code ends the whole process by abort(), which no `except` survives, CharLS computes for seconds
over a few kilobytes, and OpenJPEG allocates what a header asks for. So each frame is decoded by a process of its own with limits of
memory, processor time and wall time, without the right to open a file or a connection. The nursery itself reads no byte of a film.

Over the control socket (descriptor 0) comes one byte per frame, the last part of its transfer syntax, and with it the descriptor of
a connection. Over that the child says STARTED, reads HEADER and the frame, and answers DECODED and the samples, or nothing.
"""

import os
import resource
import signal
import socket
import struct
import sys
from importlib import import_module
from typing import Any

HEADER = struct.Struct("<III")  # width, height, bits per sample
MEMORY = 1536 * 1024 * 1024  # bytes of address space
PROCESSOR_SECONDS, PIXELS_PER_SECOND, WALL_SECONDS = 2, 5_000_000, 10  # a lossless film takes a third of that on an old core
STARTED, DECODED, DECODER_MISSING = b"S", b"D", b"M"
GDCM, OPENJPEG = "gdcm", "openjpeg"
DECODERS = {51: GDCM, 57: GDCM, 70: GDCM, 80: GDCM, 81: GDCM, 90: OPENJPEG, 91: OPENJPEG}


def main() -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a child ended, and none stays a zombie
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
        return import_module(name)
    except ImportError:
        return None


def _answer(connection: socket.socket, syntax: int, decoder: Any) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)  # nobody handles the signal: it ends the process
    connection.sendall(STARTED)
    if decoder is None:
        connection.sendall(DECODER_MISSING)
        return
    stream = bytearray()
    while block := connection.recv(1 << 20):
        stream += block
    width, height, bits = HEADER.unpack_from(stream)
    seconds = PROCESSOR_SECONDS + width * height // PIXELS_PER_SECOND
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    frame = bytes(stream[HEADER.size :])
    decode = _with_gdcm if DECODERS[syntax] == GDCM else _with_openjpeg
    samples = decode(decoder, frame, width, height, bits, syntax)
    connection.sendall(DECODED)
    connection.sendall(samples)


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
