"""One published file over HTTPS into its place: it has its name only when it is whole and is what the manifest says."""

import http.client
import os
import ssl
from pathlib import Path
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from services.commands.checking import refuse_unfit
from training import imagenet

TIMEOUT = 30.0  # seconds without a byte
PIECE = 1 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class DownloadFailed(RuntimeError):
    """The publisher's file did not arrive. Says what to do on a machine without a network."""

    def __init__(self, entry: imagenet.Entry, reason: str) -> None:
        super().__init__(
            f"cannot fetch {entry.url}: {reason}. Where there is a network, download that address; "
            f"copy the file here; then `mdmt weights import {entry.name} {entry.file}`"
        )


def fetch(entry: imagenet.Entry, folder: Path, timeout: float = TIMEOUT) -> str:
    """Download into `folder`; returns the SHA-256. Where no digest is public, the tensors must fit the backbone instead.

    Raises DownloadFailed (no network, refused, cut off) or imagenet.WeightsRefused (another file than the published one).
    Nothing is left behind then.
    """
    place = urlsplit(entry.url)
    if place.scheme != "https" and place.hostname not in LOOPBACK:
        raise DownloadFailed(entry, "only https is trusted")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{os.getpid()}.{entry.file}"
    try:
        with part.open("wb") as file:
            _receive(entry, file, timeout)
        imagenet.refuse_other(entry.file, imagenet.sha256(part), entry.expected)
        if entry.expected is None:
            refuse_unfit(entry.name, part)
        return imagenet.install(entry.name, part, folder / entry.file)
    finally:
        part.unlink(missing_ok=True)


def _receive(entry: imagenet.Entry, file: IO[bytes], timeout: float) -> None:
    received = 0
    try:
        with request.urlopen(entry.url, timeout=timeout, context=_certificates(entry)) as answer:
            stated = answer.headers.get("Content-Length")
            while piece := answer.read(PIECE):
                received += file.write(piece)
    except HTTPError as error:
        error.close()
        raise DownloadFailed(entry, f"the server answers {error.code} {error.reason}") from error
    except URLError as error:
        raise DownloadFailed(entry, str(error.reason)) from error
    except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
        raise DownloadFailed(entry, f"the connection broke after {received} bytes ({type(error).__name__})") from error
    if stated is not None and received != int(stated):
        raise DownloadFailed(entry, f"{received} of {stated} bytes arrived")


def _certificates(entry: imagenet.Entry) -> ssl.SSLContext | None:
    return ssl.create_default_context() if entry.url.startswith("https:") else None
