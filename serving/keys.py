"""API keys: who may ask for what. The file holds their SHA-256, so that whoever reads it cannot ask.

A key is 256 random bits, so that a plain digest of it cannot be searched; a password would need a slow one.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Scope = Literal["predict", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "mdmt"


class KeyFileError(RuntimeError):
    """A key file that cannot be read, or a key that is not in it."""


class Key(BaseModel):
    """One key. `admin` may do everything, `predict` everything but what is under /admin."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    name: str = Field(min_length=1, max_length=64)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created: str

    def allows(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: list[Key]


def read_keys(path: Path) -> dict[str, Key]:
    """Id → key. Raises KeyFileError."""
    try:
        keys = _KeyFile.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise KeyFileError(f"the key file cannot be read ({type(error).__name__}): make one with `mdmt keys new`") from error
    except ValidationError as error:
        raise KeyFileError(f"the key file is none: {error.error_count()} fields are wrong. `mdmt keys new` writes it") from error
    return {key.id: key for key in keys}


def add_key(path: Path, name: str, scopes: tuple[Scope, ...]) -> str:
    """Make a key, add its digest to the file, and return it: it cannot be shown again. Raises KeyFileError."""
    identity, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with _alone(path):
        keys = read_keys(path) if path.exists() else {}
        keys[identity] = Key(id=identity, name=name, sha256=_digest(secret), scopes=scopes, created=now)
        _write(path, keys)
    return f"{PREFIX}_{identity}_{secret}"


def revoke_key(path: Path, identity: str) -> Key:
    """Take a key out of the file; running services notice at the next request. Raises KeyFileError."""
    with _alone(path):
        keys = read_keys(path)
        if identity not in keys:
            raise KeyFileError(f"no key {identity!r} in the file; there are {', '.join(keys) or 'none'}")
        gone = keys.pop(identity)
        _write(path, keys)
    return gone


class KeyRing:
    """The keys of a file as it is now: a change counts from the next request on. A file that cannot be read lets nobody in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys = read_keys(path)

    def find(self, token: str) -> Key | None:
        """The key that was sent, None when it is none of ours. Raises KeyFileError."""
        self._refresh()
        prefix, _, rest = token.partition("_")
        identity, _, secret = rest.partition("_")
        key = self._keys.get(identity)
        expected = key.sha256 if key is not None else _digest("")
        matches = hmac.compare_digest(_digest(secret), expected)
        return key if matches and key is not None and prefix == PREFIX else None

    def _refresh(self) -> None:
        try:
            now = self._path.stat()
        except OSError as error:
            raise KeyFileError(f"the key file cannot be read ({type(error).__name__})") from error
        seen = now.st_mtime_ns, now.st_size, now.st_ino
        if seen != self._seen:
            self._keys = read_keys(self._path)
            self._seen = seen


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile: of two who read it and write it, the second would undo what the first has done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)  # the file itself is replaced, so that a lock on it would be on the one before
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, keys: dict[str, Key]) -> None:
    """Whole or not at all, and for the owner only, unless its mode was changed since."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    if path.exists():
        fresh.chmod(path.stat().st_mode & 0o777)
    with fresh.open("w", encoding="utf-8") as file:
        json.dump({"keys": [key.model_dump(mode="json") for key in keys.values()]}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
