"""Request → the bytes of one film, or of a batch, from a form or a raw body, in memory and never beyond the limit.

Starlette's own form parser spools to a temporary file, which a read-only container has not got, so the form is parsed here.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from cxr.errors import FileTooLarge
from serving.admission import Place
from serving.errors import ProblemError
from serving.representations import JSON
from serving.settings import MIB, Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

RAW_TYPES = ("image/png", "image/jpeg", "application/dicom", "application/octet-stream")
FORM = "multipart/form-data"
FIELD = "file"
FORM_OVERHEAD = 64 * 1024  # bytes of boundaries, part headers and further fields that a form may have beside the file
FURTHER_PARTS = 7  # of a form, beside the films


class _Form:
    """Collects the parts named `file`, `most` at most; callbacks of MultipartParser."""

    def __init__(self, most: int) -> None:
        self.files: list[list[memoryview]] = []  # in pieces, as they come
        self.complete = False
        self._most = most
        self._parts = 0
        self._inside = False
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_headers_finished": self.on_headers_finished,
            "on_part_data": self.on_part_data,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        self._parts += 1
        self._disposition = b""
        allowed = self._most + FURTHER_PARTS
        if self._parts > allowed:
            raise ProblemError("malformed-form", f"The form has more than {allowed} parts. Send films in parts named `{FIELD}`.")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._inside = options.get(b"name") == FIELD.encode()
        if len(self.files) == self._most and (self._inside or b"filename" in options):
            raise ProblemError(
                "several-files", f"The form has more files than {self._most}, the most that one request may have here."
            )
        if self._inside:
            self.files.append([])

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self.files[-1].append(memoryview(data)[start:end])  # copied once, when all pieces are joined

    def on_end(self) -> None:
        self.complete = True


async def read_upload(request: Request, settings: Settings, place: Place) -> bytes:
    """The content of the one film in the request; an empty one is refused by whoever reads it, here as in a batch.

    Raises FileTooLarge beyond `settings.max_bytes`, ProblemError (`unsupported-media-type`, `missing-file`, `several-files`,
    `malformed-form`, `body-timeout`, `busy`) otherwise.
    """
    kind, boundary = _kind_of(request)
    if kind not in (FORM, *RAW_TYPES):
        raise ProblemError(
            "unsupported-media-type",
            f"Send {FORM} with one field `{FIELD}`, or the file itself as {', '.join(RAW_TYPES)}, without Content-Encoding.",
            headers={"Accept": ", ".join((FORM, *RAW_TYPES))},
        )
    overhead = FORM_OVERHEAD if kind == FORM else 0
    body = _Body(request, settings, place, settings.max_bytes, overhead)
    data = (await _files_of_form(body, boundary, 1))[0] if kind == FORM else await _whole(body)
    if len(data) > settings.max_bytes:
        raise _too_large(settings.max_bytes)
    return data


async def read_batch(request: Request, settings: Settings, place: Place) -> list[bytes]:
    """The content of each film of a form, in its order; an empty or too large one is among them, to be refused by itself.

    Raises FileTooLarge beyond `settings.batch_bytes` for all together, ProblemError as `read_upload` does.
    """
    kind, boundary = _kind_of(request)
    if kind != FORM:
        raise ProblemError(
            "unsupported-media-type",
            f"Send {FORM} with one field `{FIELD}` per film, without Content-Encoding.",
            headers={"Accept": FORM},
        )
    body = _Body(request, settings, place, settings.batch_bytes, FORM_OVERHEAD)
    return await _files_of_form(body, boundary, settings.batch_films)


async def read_json(request: Request, settings: Settings, place: Place) -> bytes:
    """A JSON body whose films are base64, so that it may have four bytes where they have three. Raises as `read_batch` does."""
    if _kind_of(request)[0] != JSON:
        raise ProblemError("unsupported-media-type", f"Send {JSON}, without Content-Encoding.", headers={"Accept": JSON})
    return await _whole(_Body(request, settings, place, settings.batch_bytes * 4 // 3, FORM_OVERHEAD))


def _kind_of(request: Request) -> tuple[str, bytes]:
    """The media type in small letters, "" for a body that is coded, and the boundary of a form."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    coded = request.headers.get("content-encoding", "identity").lower() != "identity"
    return "" if coded else kind.decode("latin-1").lower(), options.get(b"boundary", b"")


class _Body(NamedTuple):
    """A request's body, of at most `most` bytes and some `overhead`."""

    request: Request
    settings: Settings
    place: Place
    most: int
    overhead: int


async def _whole(body: _Body) -> bytes:
    pieces: list[bytes] = []
    await _received(body, pieces.append)
    return b"".join(pieces)  # copied once, where a growing array moves, and is copied in the end as well


async def _files_of_form(body: _Body, boundary: bytes, most: int) -> list[bytes]:
    form = _Form(most)
    if not boundary:
        raise ProblemError("malformed-form", "Content-Type names no boundary. Let the HTTP client write this header itself.")
    try:
        parser = MultipartParser(boundary, form.callbacks())
        await _received(body, parser.write)
        parser.finalize()
    except FormParserError as error:
        raise ProblemError(
            "malformed-form", f"The body is not a {FORM} form with the boundary that Content-Type names."
        ) from error
    if not form.complete:
        raise ProblemError("malformed-form", "The form ends before its closing boundary.")
    if not form.files:
        raise ProblemError("missing-file", f"The form has no field `{FIELD}`. Send the film in a part of that name.")
    return [b"".join(pieces) for pieces in form.files]


async def _received(body: _Body, take: Callable[[bytes], object]) -> None:
    """Give `take` the body as it comes in, counted: what Content-Length says only serves to refuse sooner."""
    settings, limit = body.settings, body.most + body.overhead
    announced = body.request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(body.most)
    clock = asyncio.get_running_loop().time
    deadline = clock() + settings.body_total_seconds
    try:
        async with asyncio.timeout_at(min(deadline, clock() + settings.body_idle_seconds)) as patience:
            async for chunk in body.request.stream():
                limit -= len(chunk)
                if limit < 0:
                    raise _too_large(body.most)
                body.place.hold(len(chunk))
                take(chunk)
                if body.place.waits:
                    patience.reschedule(deadline)  # this silence is ours
                    await body.place.turn()
                patience.reschedule(min(deadline, clock() + settings.body_idle_seconds))
        body.place.arrived()
    except TimeoutError as error:
        raise ProblemError("body-timeout", f"No more of the body came within {settings.body_idle_seconds:g} s, or it took "
                          f"longer than {settings.body_total_seconds:g} s as a whole. Send it again.") from error  # fmt: skip


def _too_large(most: int) -> FileTooLarge:
    return FileTooLarge("a larger body", f"at most {most / MIB:g} MiB", "Send one film per request, not a study.")
