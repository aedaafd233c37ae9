"""Compressed DICOM frame → samples, decoded in a disposable child process (`cxr.decoding_child` says why).

A child is forked by a warm nursery, one per process that decodes, so that a frame costs milliseconds beside its decoding. The nursery
starts with the first such frame, or with `warm_up`, and ends when its starter does. Pictures go the same way (`cxr.raster_apart`).
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr import decoding_child
from cxr.decoding_child import DECODED, DECODER_MISSING, DECODERS, HEADER, STARTED, WALL_SECONDS, fill
from cxr.errors import TruncatedFile, UnsupportedDicom
from cxr.headers import Stream

T = TypeVar("T")
START_SECONDS = 10.0  # until a child says STARTED: the decoder's import on a busy machine is part of it
PIPE_BYTES = 1 << 20  # or what the system allows: the default has 20 switches between two processes for a film of 4 MB
JPEG_LOSSLESS = (57, 70)

# 6 × 4 samples of 16 bits whose differences wrap at 65536: what a wrong decoder of JPEG Lossless gets wrong (pylibjpeg-libjpeg
# issue 90). Predictor 1, encoded by `tests.cxr.lossless_jpeg`.
SELF_TEST = bytes.fromhex(
    "ffd8ffc3000b100004000601011100ffc400240000000000110000000000000000000000000102030405060708090a0b0c0d0e0f10ffda0008010100"
    "0100007fff00f780007fff00e0de0001ff00ff00802820c02401bfff00fbff00ff008a121bff00ff00bfff00f8b7ff00fe78001fffd9"
)
SELF_TEST_SAMPLES = (
    *(65535, 32768, 65534, 65535, 32768, 65534, 65535, 1, 0, 1, 1, 65535),
    *(65535, 0, 32767, 65534, 0, 65534, 0, 32767, 65534, 1, 32767, 1),
)


class NurseryGone(RuntimeError):
    """No child was started: the nursery has ended, or cannot start one."""

    def __init__(self) -> None:
        super().__init__("no decoding process can be started: check the limits of memory and processes")


class Nursery:
    """The warm process."""

    def __init__(self) -> None:
        # -I: neither the working directory nor the environment may put another module in the place of a decoder.
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-I", str(Path(decoding_child.__file__))]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for whoever started it
                    env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # a process that forks must not have threads
                )
            except OSError:
                ours.close()
                raise NurseryGone from None
        self._control = ours
        self.owner = os.getpid()

    @cached_property
    def lossless_is_right(self) -> bool:
        """Whether the decoder of JPEG Lossless passes its self-test, made when it is first asked for."""
        try:
            samples = self.decoded(SELF_TEST, Stream("SOF3", 6, 4, 1, 16), 70)
        except (TruncatedFile, ImportError):
            return False
        return tuple(samples.ravel().tolist()) == SELF_TEST_SAMPLES

    def close(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()

    def decoded(self, frame: bytes, stream: Stream, syntax: int) -> NDArray[Any]:
        sample = np.dtype(np.uint8 if stream.bits <= 8 else np.uint16)
        with self.child(syntax) as connection:
            try:
                connection.settimeout(WALL_SECONDS + 1)  # the child's own limit ends it first
                connection.sendall(HEADER.pack(stream.width, stream.height, stream.bits))
                connection.sendall(frame)
                connection.shutdown(socket.SHUT_WR)
                outcome = connection.recv(1)
                # Allocated only now: a header alone must not cost us what it promises.
                samples = np.empty((stream.height, stream.width) if outcome == DECODED else (0, 0), sample)
                until = time.monotonic() + WALL_SECONDS + 1
                whole = outcome == DECODED and fill(connection, samples.data.cast("B"), until) and not connection.recv(1)
            except OSError:  # ended by a limit or by its decoder while we were sending
                outcome, whole = b"", False
        if outcome == DECODER_MISSING:
            raise ImportError(f"this transfer syntax needs the package of {DECODERS[syntax]}: python-gdcm or pylibjpeg-openjpeg")
        if not whole:
            raise TruncatedFile(
                "compressed pixel data that does not decode within the limits", "a complete film", "Export it again."
            )
        return samples

    def child(self, syntax: int) -> socket.socket:
        """A connection to a child that has started, for a frame in that syntax or for PICTURES. Raises NurseryGone when none does."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIPE_BYTES)
        ours.settimeout(START_SECONDS)
        try:
            with theirs:
                socket.send_fds(self._control, [bytes([syntax])], [theirs.fileno()])
            if ours.recv(1) == STARTED:
                return ours
        except OSError:
            pass
        ours.close()
        raise NurseryGone


_LOCK = threading.Lock()
_running: list[Nursery] = []


def decode_apart(frame: bytes, stream: Stream, syntax: int) -> NDArray[Any]:
    """(height, width) uint8 or uint16 samples of one frame as its codestream holds them: unsigned, or two's complement.

    `syntax` is the last part of the transfer syntax: 50 (JPEG of 8 bits), 51 (JPEG Extended of 12 bits), 57, 70 (JPEG Lossless), 80, 81
    (JPEG-LS), 90 or 91 (JPEG 2000). Raises TruncatedFile where the child fails or reaches a limit, UnsupportedDicom where the decoder of
    JPEG Lossless failed its self-test.
    """

    def decoded(nursery: Nursery) -> NDArray[Any]:
        if syntax in JPEG_LOSSLESS and not nursery.lossless_is_right:
            raise UnsupportedDicom("JPEG Lossless, whose decoder fails its self-test on this machine", "another encoding")
        return nursery.decoded(frame, stream, syntax)

    return with_nursery(decoded)


def with_nursery(do: Callable[[Nursery], T]) -> T:
    """What `do` makes with the nursery of this process; where that has ended since it was last used, with another one, once."""
    try:
        return _once(do)
    except NurseryGone:
        return _once(do)


def _once(do: Callable[[Nursery], T]) -> T:
    nursery = _nursery()
    try:
        return do(nursery)
    except NurseryGone:
        _forget(nursery)
        raise


def warm_up() -> bool:
    """Start the nursery now; says whether the decoder of JPEG Lossless gives right values, else that syntax is refused."""
    return with_nursery(lambda nursery: nursery.lossless_is_right)


def _nursery() -> Nursery:
    with _LOCK:
        if _running and _running[0].owner != os.getpid():  # a fork's copy: its starter still uses it
            _running.clear()
        if not _running:
            _running.append(Nursery())
        return _running[0]


def _forget(nursery: Nursery) -> None:
    with _LOCK:
        if nursery in _running:
            _running.remove(nursery)
            nursery.close()
