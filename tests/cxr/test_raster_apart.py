"""PNG and JPEG from strangers are decoded by a process that is thrown away, with the same result as in this one."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr import raster_apart
from cxr.decoding_child import LENGTH, REQUEST
from cxr.errors import FilmError, TruncatedFile
from cxr.reading import Limits, read
from tests.cxr.dicoms import jpeg, phantom
from tests.cxr.encodings import saved
from tests.cxr.mutants import mutant

FILES = 8  # a child's
APART = Limits(files_per_decoder=FILES)
GRAY = phantom()
RGB = np.repeat(GRAY[..., None], 3, axis=2)
TURNED = Image.Exif()
TURNED[0x0112] = 6
FILMS: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved(Image.fromarray(GRAY)),
    "png of 16 bits": lambda: saved(Image.fromarray(GRAY.astype(np.uint16) * 257)),
    "png of 1 bit": lambda: saved(Image.fromarray(GRAY).convert("1")),
    "png with a palette": lambda: saved(Image.fromarray(RGB).convert("P")),
    "png with alpha": lambda: saved(Image.fromarray(np.dstack([RGB, GRAY]))),
    "png with a hidden value": lambda: saved(Image.fromarray(GRAY), transparency=0),
    "png, turned": lambda: saved(Image.fromarray(GRAY), exif=TURNED),
    "jpeg": lambda: jpeg(GRAY),
    "jpeg, progressive": lambda: jpeg(GRAY, progressive=True),
    "jpeg, turned": lambda: saved(Image.fromarray(GRAY), "JPEG", exif=TURNED),
    "jpeg in colour": lambda: saved(Image.fromarray(RGB), "JPEG"),
    "jpeg in cmyk": lambda: saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
    "jpeg of two pictures": lambda: saved(Image.fromarray(GRAY), "MPO", save_all=True, append_images=[Image.fromarray(GRAY)]),
}


@pytest.fixture(autouse=True)
def _no_child_waits() -> Iterator[None]:
    _forget_all()
    yield
    _forget_all()


def _forget_all() -> None:
    while raster_apart._idle:
        raster_apart._idle.pop().connection.close()


def outcome(data: bytes, limits: Limits) -> Any:
    try:
        film = read(data, limits)
    except FilmError as error:
        return type(error), str(error)
    return film.pixels.dtype, film.pixels.tobytes(), film.pixels.shape, film.bits, film.photometric, film.transforms


@pytest.mark.parametrize("name", FILMS)
def test_every_kind_of_picture_is_read_apart_as_it_is_here(name: str) -> None:
    assert isinstance(outcome(FILMS[name](), Limits())[0], np.dtype), "not refused"
    assert outcome(FILMS[name](), APART) == outcome(FILMS[name](), Limits())


def test_what_is_refused_here_is_refused_apart_in_the_same_words() -> None:
    blue = saved(Image.fromarray(np.full((80, 80, 3), (0, 0, 255), np.uint8)))
    several = saved(Image.fromarray(GRAY), save_all=True, append_images=[Image.fromarray(GRAY)])
    for data in (blue, several, FILMS["png"]()[:300], FILMS["jpeg"]()[:700], saved(Image.fromarray(GRAY[:40]))):
        assert outcome(data, APART) == outcome(data, Limits())
        assert issubclass(outcome(data, APART)[0], FilmError)


def test_damaged_files_end_apart_as_they_end_here() -> None:
    rng = np.random.default_rng(20)
    for _ in range(150):
        for name in ("png", "jpeg"):
            data = mutant(FILMS[name](), rng)
            here, apart = outcome(data, Limits()), outcome(data, APART)
            assert here == apart or (here[0], apart[0]) == (TruncatedFile, TruncatedFile), name


def children() -> set[int]:
    """Processes that wait for their next file, by the inode of our end of the connection: one each."""
    return {os.fstat(child.connection.fileno()).st_ino for child in raster_apart._idle}


def test_a_child_is_thrown_away_after_so_many_files_and_with_the_first_that_it_fails_at() -> None:
    png = FILMS["png"]()
    read(png, APART)
    first = children()
    for _ in range(FILES - 2):
        read(png, APART)
        assert children() == first
    read(png, APART)
    assert not children()
    read(png, Limits(files_per_decoder=1))
    assert not children()


def test_films_are_decoded_side_by_side_each_by_a_child_of_its_own() -> None:
    png = FILMS["png"]()
    expected = read(png).pixels
    with ThreadPoolExecutor(4) as pool:
        for film in pool.map(lambda _: read(png, APART), range(60)):
            np.testing.assert_array_equal(film.pixels, expected)
    assert len(children()) <= 4


def test_children_that_ended_while_they_waited_cost_no_film() -> None:
    from cxr import decoding

    png = FILMS["png"]()
    read(png, APART)
    pid = decoding._nursery()._process.pid
    waiting = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert waiting
    for child in waiting:
        os.kill(int(child), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while raster_apart._idle[0].waits() and time.monotonic() < deadline:
        time.sleep(0.01)
    np.testing.assert_array_equal(read(png, APART).pixels, read(png).pixels)


def told(about: object) -> bytes:
    text = json.dumps(about).encode()
    return LENGTH.pack(len(text)) + text


SHOWN = {"shape": [80, 96], "samples": "uint8", "bits": 8, "photometric": "L", "transforms": []}
LIES: dict[str, bytes] = {
    "nothing": b"",
    "an unknown outcome": b"X",
    "a length without text": b"D" + LENGTH.pack(100),
    "a text of four gigabytes": b"D" + LENGTH.pack(2**32 - 1),
    "no json": b"D" + LENGTH.pack(4) + b"{{{{",
    "json of a thousand brackets": b"D" + LENGTH.pack(4_000) + b"[" * 4_000,
    "endless sides": b"D" + told(SHOWN | {"shape": [float("inf"), 96]}),
    "json of another kind": b"D" + told([1, 2]),
    "forty thousand million pixels": b"D" + told(SHOWN | {"shape": [200_000, 200_000]}),
    "negative sides": b"D" + told(SHOWN | {"shape": [-80, -96]}),
    "objects for samples": b"D" + told(SHOWN | {"samples": "object"}),
    "too few samples": b"D" + told(SHOWN) + bytes(80 * 96 - 1),
    "a refusal that there is not": b"R" + told({"code": "internal-error", "found": "", "allowed": "", "advice": ""}),
}


@pytest.mark.parametrize("name", LIES)
def test_a_child_that_a_file_has_taken_over_is_believed_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    child = raster_apart._Child(ours, 0, os.getpid())
    monkeypatch.setattr(raster_apart, "_child", lambda: child)

    def lie() -> None:
        with theirs:
            theirs.settimeout(5)
            received = 0
            while received < REQUEST.size + len(FILMS["png"]()):
                received += len(theirs.recv(1 << 16))
            theirs.sendall(LIES[name])

    liar = threading.Thread(target=lie)
    liar.start()
    with pytest.raises(TruncatedFile):
        read(FILMS["png"](), APART)
    liar.join()
    assert not children() and ours.fileno() == -1, "and is not asked again"


def test_a_child_that_answers_drop_by_drop_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(raster_apart, "_child", lambda: raster_apart._Child(ours, 0, os.getpid()))
    monkeypatch.setattr(raster_apart, "WALL_SECONDS", 0)

    def drip() -> None:
        with theirs:
            theirs.sendall(b"D" + told(SHOWN))
            for _ in range(300):  # half a minute, each drop well within the time limit of one
                try:
                    theirs.sendall(b"0")
                except OSError:
                    return
                time.sleep(0.1)

    dripping = threading.Thread(target=drip)
    dripping.start()
    begun = time.monotonic()
    with pytest.raises(TruncatedFile):
        read(FILMS["png"](), APART)
    assert time.monotonic() - begun < 10
    dripping.join()


# A child's own functions with a shorter limit, and a decoder that never comes back in the place of Pillow.
HANGS = """
import os, socket, time
from cxr import decoding_child, raster_child

decoding_child.WALL_SECONDS = 1
raster_child.read_raster = lambda *_: time.sleep(60)
ours, theirs = socket.socketpair()
pid = os.fork()
if pid == 0:
    ours.close()
    decoding_child._answer(theirs, decoding_child.PICTURES, raster_child)
    os._exit(0)
theirs.close()
assert ours.recv(1) == decoding_child.STARTED
time.sleep(1.5)  # waiting for a file is not counted
begun = time.monotonic()
ours.sendall(decoding_child.REQUEST.pack(80, 96, 0, 3, 8) + b"png")
assert ours.recv(1) == b""
print(-os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), time.monotonic() - begun)
"""


def test_a_child_whose_decoder_hangs_is_ended_by_its_limit_of_time() -> None:
    command, environment = [sys.executable, "-c", HANGS], {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    ended_by, seconds = done.stdout.split()
    assert int(ended_by) == signal.SIGALRM
    assert 0.9 < float(seconds) < 15
