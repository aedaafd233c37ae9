"""Seeded damage to a file: what readers and an upload service have to survive."""

import numpy as np

HEAD = 900  # bytes: tags, tables and chunk headers, where most mutants still look like an image


def mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with bytes overwritten (in its head, at its codestream or anywhere), removed, repeated or cut off."""
    damaged = bytearray(data)
    kind = rng.integers(6)
    if kind == 0:
        return bytes(damaged[: rng.integers(len(data))])
    if kind == 1:
        start = rng.integers(len(data))
        del damaged[start : start + rng.integers(1, 60)]
    if kind == 2:
        start = rng.integers(len(data))
        damaged[start:start] = damaged[start : start + rng.integers(1, 200)]
    low, high = (0, HEAD) if kind == 3 else (_codestream(data), len(damaged)) if kind == 4 else (0, len(damaged))
    for _ in range(rng.integers(1, 7)):
        place = int(rng.integers(low, max(low + 1, min(high, len(damaged)))))
        damaged[min(place, len(damaged) - 1)] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
    return bytes(damaged)


def _codestream(data: bytes) -> int:
    """Where the decoder's own work begins: at a table, a scan or a chunk of pixels."""
    found = [place for mark in (b"\xff\xc4", b"\xff\xda", b"\xff\x52", b"IDAT") if (place := data.find(mark)) > 0]
    return min(found, default=0)
