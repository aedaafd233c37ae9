"""Real and awkward files of the folder `oddities` behave as its table suggests."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from cxr.errors import FilmError
from cxr.intensity import to_gray8
from cxr.reading import SERVED, TRAINING, read

ROOT = Path(__file__).resolve().parents[2]
ODDITIES = Path(os.environ.get("MDMT_REAL_CXR", ROOT.parent / "shared/data/real-cxr")) / "oddities"

pytestmark = pytest.mark.skipif(not ODDITIES.is_dir(), reason="the folder of real films (MDMT_REAL_CXR) is absent")

REFUSED = {
    "cxr_truncated.jpg": "truncated-file",
    "cxr_truncated.png": "truncated-file",
    "cxr_tiny_16px.png": "film-too-small",
    "photo_colour.png": "not-gray",
    "ct_small_16bit.dcm": "unsupported-dicom",
    "mr_truncated.dcm": "unsupported-dicom",
    "empty.jpg": "empty-body",
    "text_named.png": "unsupported-format",
}
# Gray pictures of the wrong thing: content is judged by the segmentation, not by the reader.
JUDGED_LATER = {"cxr_lateral.jpg", "ct_axial_slice.jpg"}


def table() -> list[dict[str, str]]:
    with (ODDITIES / "oddities.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_file_is_accepted_or_refused_as_the_table_suggests() -> None:
    for row in table():
        name, expected = row["file"], row["expected"]
        data = (ODDITIES / name).read_bytes()
        if name in REFUSED:
            assert expected.startswith("reject")
            with pytest.raises(FilmError) as refused:
                read(data, formats=TRAINING)
            assert refused.value.code == REFUSED[name]
        else:
            assert expected.startswith("accept") or name in JUDGED_LATER
            gray = to_gray8(read(data, formats=TRAINING).pixels)
            assert gray.min() == 0 and gray.max() == 255, name


def test_a_tiff_is_for_training_only() -> None:
    with pytest.raises(FilmError, match="TIFF"):
        read((ODDITIES / "cxr_16bit.tif").read_bytes(), formats=SERVED)


def test_photometric_and_depth_are_as_the_files_say() -> None:
    twelve = read((ODDITIES / "cxr_16bit_12bit_range.png").read_bytes())
    assert twelve.bits == 16 and 255 < twelve.pixels.max() < 4096
    dx = read((ODDITIES / "dx_monochrome1_12bit_uncompressed.dcm").read_bytes())
    assert (dx.bits, dx.modality, dx.view, dx.photometric) == (12, "DX", "AP", "MONOCHROME1")
    assert dx.transforms == ("voi-window", "monochrome1-inverted")
    one = read((ODDITIES / "cr_monochrome1_jpegbaseline.dcm").read_bytes())
    two = read((ODDITIES / "cr_monochrome2_jpegbaseline.dcm").read_bytes())
    np.testing.assert_array_equal(one.pixels, two.pixels.max() + two.pixels.min() - two.pixels)


def test_the_inverted_dicom_and_the_png_of_one_film_look_the_same() -> None:
    dx = to_gray8(read((ODDITIES / "dx_monochrome1_12bit_uncompressed.dcm").read_bytes()).pixels)
    png = to_gray8(read((ODDITIES / "cxr_16bit_12bit_range.png").read_bytes()).pixels)[::2, ::2]
    assert np.corrcoef(dx[: png.shape[0], : png.shape[1]].ravel(), png.ravel())[0, 1] > 0.95
