"""A 12-bit JPEG Extended encoder of one screen (ITU-T T.81, annex F), so that the decoder in use is tested by another hand's stream."""

import struct

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from tests.cxr.lossless_jpeg import amplitude, packed

# Every code is as long as the others of its table, and is the place of its symbol.
CATEGORIES = range(16)  # of differences between two blocks' means, 5 bits each
RUNS = (
    0x00,
    0xF0,
    *(run << 4 | size for run in range(16) for size in range(1, 15)),
)  # end of block, 16 zeros, zeros before a size; 8 bits
ZIGZAG = sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))


def extended_jpeg(pixels: NDArray[np.unsignedinteger], step: int = 4) -> bytes:
    """(H, W) unsigned samples of 12 bits → SOF1 stream whose every coefficient is rounded to a multiple of `step` (1..255)."""
    height, width = pixels.shape
    frame = b"\xff\xc1" + struct.pack(">HBHHB3B", 11, 12, height, width, 1, 1, 0x11, 0)
    quantised = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([step] * 64)
    tables = _table(0x00, 5, CATEGORIES) + _table(0x10, 8, RUNS)
    scan = b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 0, 63, 0)
    return b"\xff\xd8" + quantised + frame + tables + scan + packed(_words(pixels, step)) + b"\xff\xd9"


def _table(number: int, bits: int, symbols: range | tuple[int, ...]) -> bytes:
    lengths = [0] * 16
    lengths[bits - 1] = len(symbols)
    return b"\xff\xc4" + struct.pack(">HB", 19 + len(symbols), number) + bytes(lengths) + bytes(symbols)


def _words(pixels: NDArray[np.unsignedinteger], step: int) -> list[str]:
    words, before = [], 0
    height, width = pixels.shape
    padded = np.pad(pixels.astype(np.float64) - 2048, ((0, -height % 8), (0, -width % 8)), mode="edge")
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            block = np.rint(dctn(padded[top : top + 8, left : left + 8], norm="ortho") / step).astype(int)
            mean, *rest = (int(block[at]) for at in ZIGZAG)
            words += _of_block(mean - before, rest)
            before = mean
    return words


def _of_block(difference: int, rest: list[int]) -> list[str]:
    words = [f"{abs(difference).bit_length():05b}", amplitude(difference)]
    zeros = 0
    for value in np.trim_zeros(rest, "b"):
        if value == 0:
            zeros += 1
            continue
        words += [f"{RUNS.index(0xF0):08b}"] * (zeros // 16)
        words += [f"{RUNS.index(zeros % 16 << 4 | abs(value).bit_length()):08b}", amplitude(value)]
        zeros = 0
    return words if rest[-1] else [*words, f"{RUNS.index(0x00):08b}"]
