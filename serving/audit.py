"""The audit log: one JSON line for every film that was answered, without patient data, chained so that a line that is gone is noticed.

A line says when, who asked (the key's id, never a name), which version answered, what it answered and whether it abstained. The film is
named by a keyed digest (HMAC-SHA256): whoever has the file and the secret can find its lines, nobody can go the other way. Each line
holds `chain`, the keyed digest of the line before and of itself. Lines go to the logger `serving.audit`, and from there to standard
error with the rest of the log: nothing is written to disk here.
"""

import hashlib
import hmac
import json
import logging
import secrets
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("serving.audit")
START = "start"


class Audit:
    """One process's chain. `secret` empty: one that nobody knows, so that lines can be chained but not checked later."""

    def __init__(self, secret: str = "") -> None:
        self._secret = secret.encode() or secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._count, self._chain = 0, START

    def film(self, data: bytes) -> str:
        """The name of a film in the log."""
        named = hmac.new(self._secret, b"film\x00", hashlib.sha256)
        named.update(data)
        return named.hexdigest()[:32]

    def record(self, **fields: Any) -> None:
        """Write one line. `fields` are JSON values without patient data."""
        with self._lock:
            line = {"audit": self._count, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
            self._chain = _link(self._secret, self._chain, line)
            self._count += 1
            log.info(json.dumps({**line, "chain": self._chain}))


def broken(lines: Iterable[str], secret: str) -> Iterator[str]:
    """What is wrong with a log, in words; nothing when it is whole. Other lines in between are passed over, each process's chain begins
    at 0."""
    chain, expected = START, 0
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
            given, count = line.pop("chain"), int(line["audit"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if count == 0:
            chain, expected = START, 0
        link = _link(secret.encode(), chain, line)
        if count != expected:
            yield f"line {number}: entry {count} where {expected} was expected"
        elif not hmac.compare_digest(link, str(given)):
            yield f"line {number}: entry {count} was altered, or made with another secret"
        chain, expected = str(given), count + 1


def _link(secret: bytes, chain: str, line: dict[str, Any]) -> str:
    content = f"{chain}\n{json.dumps(line, sort_keys=True)}".encode()
    return hmac.new(secret, content, hashlib.sha256).hexdigest()
