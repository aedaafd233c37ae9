"""A JPEG Lossless encoder of one screen (ITU-T T.81, annex H), so that the decoder in use is tested by another hand's stream."""

import struct

import numpy as np
from numpy.typing import NDArray

CATEGORIES = 17  # difference categories 0..16, each given the Huffman code of 5 bits that is its own number


def lossless_jpeg(pixels: NDArray[np.unsignedinteger], bits: int, predictor: int = 1) -> bytes:
    """(H, W) unsigned samples of `bits` bits → SOF3 stream with predictor 1..7; 1 is what transfer syntax .70 prescribes."""
    height, width = pixels.shape
    frame = struct.pack(">HBHHB3B", 11, bits, height, width, 1, 1, 0x11, 0)
    codes = bytes([0, 0, 0, 0, 0, CATEGORIES, *[0] * 11, *range(CATEGORIES)])
    scan = struct.pack(">HB2B3B", 8, 1, 1, 0, predictor, 0, 0)
    body = b"\xff\xc3" + frame + b"\xff\xc4" + struct.pack(">H", len(codes) + 2) + codes + b"\xff\xda" + scan
    return b"\xff\xd8" + body + _entropy_coded(pixels.astype(np.int64), bits, predictor) + b"\xff\xd9"


def _entropy_coded(pixels: NDArray[np.int64], bits: int, predictor: int) -> bytes:
    words = []
    for difference in (pixels - _predicted(pixels, bits, predictor)).ravel():
        difference = (int(difference) + 32767) % 65536 - 32767  # modulo 2^16, in -32767..32768
        category = abs(difference).bit_length()
        words.append(f"{category:05b}")
        if category < 16:
            words.append(amplitude(difference))
    return packed(words)


def amplitude(value: int) -> str:
    """The bits that follow the code of a value's size: itself, or of a negative one what it is above the lowest (T.81, F.1.2.1)."""
    size = abs(value).bit_length()
    return f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


def packed(words: list[str]) -> bytes:
    """Strings of bits → bytes, filled with ones, a zero byte behind every FF."""
    text = "".join(words)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")


def _predicted(x: NDArray[np.int64], bits: int, predictor: int) -> NDArray[np.int64]:
    predicted = np.empty_like(x)
    left, above, corner = x[1:, :-1], x[:-1, 1:], x[:-1, :-1]
    predicted[1:, 1:] = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor]
    predicted[0, 0] = 1 << (bits - 1)
    predicted[0, 1:] = x[0, :-1]
    predicted[1:, 0] = x[:-1, 0]
    return predicted
