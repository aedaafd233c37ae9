"""Frames whose decoders can abort, hang or grow are decoded by a child that is thrown away."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from cxr import decoding
from cxr.decoding_child import PROCESSOR_SECONDS, WALL_SECONDS
from cxr.errors import TruncatedFile, UnsupportedDicom
from cxr.headers import Stream
from cxr.reading import read
from tests.cxr.bombs import j2k_of_size, peak_kib
from tests.cxr.dicoms import dicom, encapsulated, phantom

ROOT = Path(__file__).parents[2]
P12 = phantom().astype(np.uint16) * 16
LOSSLESS, NEAR, J2K = (dicom(P12, syntax, 12) for syntax in (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless))


def nursery_pid() -> int:
    assert decoding.warm_up()
    return decoding._nursery()._process.pid


def is_gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.02)
    return False


def test_the_decoder_of_jpeg_lossless_passes_its_self_test_here() -> None:
    assert decoding.warm_up()


def test_where_the_decoder_of_jpeg_lossless_is_wrong_only_that_encoding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = list(decoding.SELF_TEST_SAMPLES)
    wrong[3] -= 1  # what a decoder without the modulo would give is as far from this as this is from the truth
    monkeypatch.setattr(decoding, "SELF_TEST_SAMPLES", tuple(wrong))
    monkeypatch.setattr(decoding, "_running", [])
    assert not decoding.warm_up()
    with pytest.raises(UnsupportedDicom, match="self-test"):
        read(LOSSLESS)
    np.testing.assert_array_equal(read(NEAR).pixels, P12)
    decoding._forget(decoding._nursery())


def test_a_frame_costs_milliseconds_beside_its_decoding_because_the_nursery_is_warm() -> None:
    read(NEAR)
    seconds = []
    for _ in range(15):
        start = time.perf_counter()
        read(NEAR)
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[7] < 0.1, "a process that imports a decoder takes longer"


def test_frames_are_decoded_side_by_side() -> None:
    with ThreadPoolExecutor(8) as pool:
        for radiograph in pool.map(read, [LOSSLESS, NEAR, J2K] * 16):
            np.testing.assert_array_equal(radiograph.pixels, P12)


def test_a_nursery_that_was_killed_is_replaced_at_the_next_frame() -> None:
    old = nursery_pid()
    os.kill(old, signal.SIGKILL)
    start = time.perf_counter()
    np.testing.assert_array_equal(read(LOSSLESS).pixels, P12)
    assert nursery_pid() != old
    assert time.perf_counter() - start < 3


def test_a_codestream_that_promises_forty_million_pixels_and_holds_none_costs_the_parent_nothing() -> None:
    empty = encapsulated(j2k_of_size(6_300, 6_300), JPEG2000Lossless, 6_300, 6_300)
    read(J2K)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_kib()
    with pytest.raises(TruncatedFile):
        read(empty)
    assert peak_kib() - before < 32 * 1024


@pytest.mark.slow
def test_a_child_that_computes_too_long_is_ended_by_its_limit_of_processor_time() -> None:
    """A large frame with the time of a small one, because no small one is known that hangs."""
    noise = np.random.default_rng(1).integers(0, 65_536, (4_000, 4_000), dtype=np.uint16)
    large = dicom(noise, JPEG2000Lossless, 16)
    frame = large[large.index(b"\xff\x4f\xff\x51") :]
    start = time.perf_counter()
    with pytest.raises(TruncatedFile, match="limits"):
        decoding.decode_apart(frame, Stream("J2K", 64, 64, 1, 16), 90)
    assert PROCESSOR_SECONDS <= time.perf_counter() - start < WALL_SECONDS + 2


# The child's own function with its own limits, and in the place of a decoder something that tries what no decoder should.
PROBE = """
import os, socket, sys, time
from cxr import decoding_child
from cxr.decoding_child import DECODED, HEADER, STARTED

class Probe:
    def decode_pixel_data(self, frame, version):
        return TRY()

def reached(name, attempt):
    try:
        attempt()
    except OSError as error:
        return f"{name}: {error.errno}"
    return f"{name}: reached"

def files_and_sockets():
    address = ("127.0.0.1", int(sys.argv[2]))
    return "; ".join([
        reached("read", lambda: open("/etc/hostname")),
        reached("write", lambda: open("canary", "w")),
        reached("socket", lambda: socket.create_connection(address, 1)),
        reached("pair", socket.socketpair),
        reached("pipe", os.pipe),
    ]).encode()

def memory():
    return str(len(bytes(512 << 20))).encode()

def sleep():
    time.sleep(60)

def compute():
    while True:
        pass

TRY = globals()[sys.argv[1]]
for limit in sys.argv[3:]:
    name, value = limit.split("=")
    setattr(decoding_child, name, int(value))
ours, theirs = socket.socketpair()
if os.fork() == 0:
    ours.close()
    decoding_child._answer(theirs, 90, Probe())
    os._exit(0)
theirs.close()
assert ours.recv(1) == STARTED
ours.sendall(HEADER.pack(8, 8, 8) + b"frame")
ours.shutdown(socket.SHUT_WR)
answer = b""
while block := ours.recv(4096):
    answer += block
assert answer[:1] == DECODED or not answer, answer
status = os.waitpid(-1, 0)[1]
print(answer[1:].decode() if answer else -os.waitstatus_to_exitcode(status))
"""


def probed(what: str, port: int = 9, *limits: str) -> str:
    """What the probe said, or the signal that ended its process (-1: an exception did)."""
    command = [sys.executable, "-c", PROBE, what, str(port), *limits]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env={"PYTHONPATH": str(ROOT)})
    return done.stdout.strip()


def test_a_child_can_neither_open_a_file_nor_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = probed("files_and_sockets", listener.getsockname()[1])
    assert said == "; ".join(f"{what}: {errno.EMFILE}" for what in ("read", "write", "socket", "pair", "pipe"))


def test_a_child_ends_at_its_limit_of_memory_of_processor_time_and_of_wall_time() -> None:
    assert probed("memory", 9, f"MEMORY={1 << 30}") == str(512 << 20)  # half a gibibyte fits into one
    assert probed("memory", 9, f"MEMORY={256 << 20}") == "-1"
    start = time.monotonic()
    assert probed("sleep", 9, "WALL_SECONDS=1") == str(signal.SIGALRM.value)
    assert 1 <= time.monotonic() - start < 15
    assert probed("compute", 9, "PROCESSOR_SECONDS=1", "WALL_SECONDS=50") in (
        str(signal.SIGXCPU.value),
        str(signal.SIGKILL.value),
    )


def test_a_child_does_not_see_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDMT_CANARY", "do-not-inherit")
    monkeypatch.setattr(decoding, "_running", [])
    environment = Path(f"/proc/{nursery_pid()}/environ").read_bytes()
    assert b"CANARY" not in environment and b"PATH" not in environment.split(b"=")[0]
    decoding._forget(decoding._nursery())


def test_the_nursery_ends_with_its_starter_even_when_that_is_killed() -> None:
    script = (
        "import os, signal; from cxr import decoding; decoding.warm_up(); "
        "print(decoding._nursery()._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert is_gone(int(child.stdout))


def test_a_child_that_gives_another_number_of_samples_is_not_believed() -> None:
    frame = J2K[J2K.index(b"\xff\x4f\xff\x51") :]
    for width, height in ((96, 79), (96, 81)):
        with pytest.raises(TruncatedFile):
            decoding.decode_apart(frame, Stream("J2K", width, height, 1, 12), 90)
