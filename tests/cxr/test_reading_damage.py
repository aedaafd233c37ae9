"""Whatever bytes come, only a FilmError goes: mutations of every kind of file that is read."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr.errors import FilmError, TruncatedFile
from cxr.intensity import to_gray8
from cxr.reading import TRAINING, read
from tests.cxr.mutants import mutant
from tests.cxr.test_reading_encodings import LOSSLESS, LOSSY

KINDS = [
    *("png 16 bit", "png palette", "png rgba", "png exif 6", "tiff 16 bit", "dicom", "dicom implicit", "dicom big endian"),
    *("dicom voi lut", "dicom modality lut", "dicom rle", "dicom jpeg 2000", "jpeg", "jpeg progressive"),
    *("jpeg cmyk", "jpeg exif 6", "dicom jpeg"),
]
FILES = {name: {**LOSSLESS, **LOSSY}[name]() for name in KINDS}
# Where the decoder's own work begins: behind our header checks.
IN_A_CHILD = {
    "dicom jpeg extended": b"\xff\xc4",
    "dicom jpeg lossless .57": b"\xff\xc4",
    "dicom jpeg lossless .70": b"\xff\xc4",
    "dicom jpeg-ls": b"\xff\xda",
}
pytestmark = pytest.mark.usefixtures("silent")


def outcome(data: bytes) -> str:
    try:
        to_gray8(read(data, formats=TRAINING).pixels)
    except FilmError as refused:
        assert "SECRET" not in str(refused)
        return refused.code
    return "read"


@pytest.mark.filterwarnings("ignore")
@given(
    name=st.sampled_from(KINDS),
    cut=st.integers(0, 400),
    edits=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=8),
    inserted=st.binary(max_size=24),
    at=st.integers(0, 3_000),
)
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_film_errors_escape_from_edited_files(
    name: str, cut: int, edits: list[tuple[int, int]], inserted: bytes, at: int
) -> None:
    damaged = bytearray(FILES[name])
    for place, value in edits:
        damaged[place % len(damaged)] = value
    damaged[at:at] = inserted
    outcome(bytes(damaged[: len(damaged) - cut]))


@pytest.mark.filterwarnings("ignore")
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", bytes(128) + b"DICM", b"\x08\x00\x05\x00"]),
)
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_film_errors_escape_from_noise_behind_any_magic(noise: bytes, magic: bytes) -> None:
    assert outcome(magic + noise) != "read"


@pytest.mark.filterwarnings("ignore")
def test_a_thousand_seeded_mutants_raise_nothing_else() -> None:
    rng = np.random.default_rng(20261123)
    outcomes = {outcome(mutant(FILES[KINDS[i % len(KINDS)]], rng)) for i in range(1_000)}
    assert {"read", "truncated-file", "unsupported-dicom", "unsupported-format"} <= outcomes, "mutants that reach every door"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", IN_A_CHILD)
def test_the_decoder_that_aborts_or_hangs_takes_only_its_child_along(name: str) -> None:
    rng = np.random.default_rng(1)
    data = {**LOSSLESS, **LOSSY}[name]()
    body = data.index(IN_A_CHILD[name])
    outcomes = set()
    for _ in range(25):
        damaged = bytearray(data)
        for place in rng.integers(body + 2, min(len(data), body + 400), 3):
            damaged[place] = rng.integers(256)
        outcomes.add(outcome(bytes(damaged)))
    assert outcomes <= {"read", "truncated-file"} and "truncated-file" in outcomes


def test_a_lossless_jpeg_without_any_code_is_named_truncated() -> None:
    data = bytearray(LOSSLESS["dicom jpeg lossless .70"]())
    table = data.index(b"\xff\xc4") + 5
    data[table : table + 16] = bytes(16)
    with pytest.raises(TruncatedFile, match="does not decode"):
        read(bytes(data))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in {**LOSSLESS, **LOSSY} if name.startswith("dicom ")])
def test_a_dicom_that_ends_early_is_named_truncated_in_every_transfer_syntax(name: str) -> None:
    data = {**LOSSLESS, **LOSSY}[name]()
    pixels = len(data) - data.index(b"\x7f\xe0\x00\x10" if "big endian" in name else b"\xe0\x7f\x10\x00")
    for cut in (8, 9, pixels // 2, pixels - 12):  # the last 8 bytes are the delimiter that ends compressed data
        with pytest.raises(TruncatedFile):
            read(data[:-cut])


def test_a_dicom_that_ends_within_a_value_before_its_pixels_is_named_truncated() -> None:
    data = LOSSLESS["dicom"]()
    for value in (b"DX", b"SECRET^NAME", b"MONOCHROME2"):
        with pytest.raises(TruncatedFile, match="ends early"):
            read(data[: data.index(value) + 1])
