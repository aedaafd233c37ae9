"""A short cut past h11 must not be seen: same bytes, same refusals, same connections, however a body comes in."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, BinaryIO

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.large_bodies import LargeBodies
from serving.server import bound

REFUSED = b"/refused"


async def digest(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the SHA-256 of the body; below /refused at once, without reading it."""
    found = hashlib.sha256()
    more = scope["raw_path"] != REFUSED
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            digest.cut_off += 1  # type: ignore[attr-defined]
            return
        found.update(message["body"])
        more = message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"64")]})
    await send({"type": "http.response.body", "body": found.hexdigest().encode()})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    digest.cut_off = 0  # type: ignore[attr-defined]
    config = uvicorn.Config(digest, host="127.0.0.1", port=0, http=LargeBodies, lifespan="off", log_level="error")
    listener = bound(config)
    listener.listen(config.backlog)  # who connects before the thread has come that far waits
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(5)


@contextmanager
def connected(port: int) -> Iterator[tuple[socket.socket, BinaryIO]]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as stream:
        yield connection, stream


def head(length: int, path: bytes = b"/", *more: bytes) -> bytes:
    return b"\r\n".join([b"POST %b HTTP/1.1" % path, b"Host: x", b"Content-Length: %d" % length, *more, b"", b""])


def answered(stream: BinaryIO) -> bytes:
    """The body of the next answer on a connection's stream, of 64 bytes."""
    assert stream.readline().startswith(b"HTTP/1.1 200")
    while stream.readline() not in (b"\r\n", b""):
        pass
    return stream.read(64)


def sent(connection: socket.socket, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        connection.sendall(piece)
        time.sleep(0.0005)  # so that they arrive one by one


@given(
    size=st.integers(0, 700_000),
    cuts=st.lists(st.integers(0, 700_000), max_size=6),
    seed=st.integers(0, 2**16 - 1),
    first=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_application_gets_the_bytes_that_were_sent(port: int, size: int, cuts: list[int], seed: int, first: bool) -> None:
    body = seed.to_bytes(2, "big") * (size // 2) + b"x" * (size % 2)
    edges = [0, *sorted(cut for cut in cuts if cut < size), size]
    pieces = [body[a:b] for a, b in pairwise(edges)]
    wire = [head(size) + pieces[0], *pieces[1:]] if first else [head(size), *pieces]
    with connected(port) as (connection, stream):
        for _ in range(2):  # kept alive
            sent(connection, wire)
            assert answered(stream) == hashlib.sha256(body).hexdigest().encode()


def test_what_comes_after_a_body_in_one_piece_is_the_next_request(port: int) -> None:
    bodies = [b"a" * 300_000, b"b" * 10, b"c" * 300_000]
    with connected(port) as (connection, stream):
        connection.sendall(b"".join(head(len(body)) + body for body in bodies))
        for body in bodies:
            assert answered(stream) == hashlib.sha256(body).hexdigest().encode()


def test_an_answer_before_the_end_of_the_body_leaves_the_connection_usable(port: int) -> None:
    body = b"z" * 3_000_000
    with connected(port) as (connection, stream):
        connection.sendall(head(len(body), REFUSED))
        assert answered(stream) == hashlib.sha256(b"").hexdigest().encode()
        sent(connection, [body[:1_000_000], body[1_000_000:2_999_999], body[2_999_999:]])
        sent(connection, [head(5), b"after"])
        assert answered(stream) == hashlib.sha256(b"after").hexdigest().encode()


def test_a_client_that_waits_to_be_asked_is_asked(port: int) -> None:
    body = b"w" * 400_000
    with connected(port) as (connection, stream):
        connection.sendall(head(len(body), b"/", b"Expect: 100-continue"))
        assert stream.readline().startswith(b"HTTP/1.1 100") and stream.readline() == b"\r\n"
        connection.sendall(body)
        assert answered(stream) == hashlib.sha256(body).hexdigest().encode()


def test_chunks_take_the_usual_way(port: int) -> None:
    with connected(port) as (connection, stream):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent(connection, [b"%x\r\n" % 200_000 + b"q" * 200_000 + b"\r\n", b"3\r\nend\r\n0\r\n\r\n"])
        assert answered(stream) == hashlib.sha256(b"q" * 200_000 + b"end").hexdigest().encode()


def test_a_body_that_is_cut_off_ends_its_request(port: int) -> None:
    before = digest.cut_off  # type: ignore[attr-defined]
    with connected(port) as (connection, _):
        sent(connection, [head(1_000_000), b"1" * 400_000])
    deadline = time.monotonic() + 5
    while digest.cut_off == before and time.monotonic() < deadline:  # type: ignore[attr-defined]
        time.sleep(0.01)
    assert digest.cut_off == before + 1  # type: ignore[attr-defined]
