"""What a file is, its content says: forty kinds that are no film, each under three names that say it is one."""

import pytest
from starlette.testclient import TestClient

from tests.serving.test_refusals import SECRET, assert_problem

# What the first bytes of a file say it is, and something behind them.
CONTENTS = {
    "nothing that is known": b"\x00\x01\x02\x03",
    "text": b"just text",
    "UTF-16": b"\xff\xfet\x00e\x00",
    "zeros": bytes(200),
    "PE": b"MZ\x90\x00\x03\x00\x00\x00",
    "ELF": b"\x7fELF\x02\x01\x01",
    "Mach-O": b"\xcf\xfa\xed\xfe\x07\x00\x00\x01",
    "Mach-O fat, Java": b"\xca\xfe\xba\xbe\x00\x00\x00\x02",
    "script": b"#!/bin/sh\nexit 0\n",
    "Python bytecode": b"\xa7\r\r\n",
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00",
    "WebAssembly": b"\x00asm\x01\x00\x00\x00",
    "Lua bytecode": b"\x1bLuaS",
    "PDF": b"%PDF-1.7\n1 0 obj",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0",
    "RTF": b"{\\rtf1\\ansi",
    "OLE": bytes.fromhex("d0cf11e0a1b11ae1"),
    "ZIP": b"PK\x03\x04\x14\x00",
    "gzip": b"\x1f\x8b\x08\x00",
    "bzip2": b"BZh91AY&SY",
    "xz": b"\xfd7zXZ\x00",
    "zstd": b"(\xb5/\xfd",
    "7z": b"7z\xbc\xaf\x27\x1c",
    "RAR": b"Rar!\x1a\x07\x01\x00",
    "tar": b"a.txt".ljust(257, b"\x00") + b"ustar\x0000",
    "HTML": b"<!doctype html><script>alert(1)</script>",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "XML": b"<?xml version='1.0'?>",
    "JSON": b'{"film": 1}',
    "GIF": b"GIF89a\x01\x00\x01\x00",
    "WebP": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "WAV": b"RIFF\x24\x00\x00\x00WAVE",
    "BMP": b"BM\x46\x00\x00\x00",
    "TIFF": b"II*\x00\x08\x00\x00\x00",
    "TIFF, big-endian": b"MM\x00*\x00\x00\x00\x08",
    "PSD": b"8BPS\x00\x01",
    "FITS": b"SIMPLE  =                    T",
    "ICO": b"\x00\x00\x01\x00\x01\x00",
    "AVIF": b"\x00\x00\x00\x1cftypavif",
    "JPEG 2000 file": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    "J2K codestream": b"\xff\x4f\xff\x51\x00\x29",
    "NIfTI": b"\x5c\x01\x00\x00".ljust(344, b"\0") + b"n+1\0",
    "SQLite": b"SQLite format 3\x00",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    "NumPy": b"\x93NUMPY\x01\x00",
}
BEGUN = {
    "PNG of one line": b"\x89PNG\r\n\x1a\n",
    "JPEG of one line": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "DICOM of one line": bytes(128) + b"DICM",
    "DICOM behind PE": b"MZ".ljust(128, b"\0") + b"DICM",
    "DICOM behind ELF": b"\x7fELF".ljust(128, b"\0") + b"DICM",
    "DICOM behind TIFF": b"II*\x00".ljust(128, b"\0") + b"DICM",
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_forty_kinds_of_content_are_415_under_every_name(client: TestClient, kind: str) -> None:
    assert len(CONTENTS) >= 40
    for name, says in (("film.png", "image/png"), (f"{SECRET}.dcm", "application/dicom"), ("film.jpg", "image/jpeg")):
        for data in (CONTENTS[kind], CONTENTS[kind] + bytes(600)):
            assert_problem(client.post("/predict", files={"file": (name, data, says)}), 415, "unsupported-format")
            assert_problem(client.post("/predict", content=data, headers={"content-type": says}), 415, "unsupported-format")


@pytest.mark.parametrize("kind", BEGUN)
def test_content_that_only_begins_like_a_film_is_4xx_by_name(client: TestClient, kind: str) -> None:
    for name in ("film.png", "film.dcm", "film.exe"):
        for data in (BEGUN[kind], BEGUN[kind] + bytes(600)):
            answer = client.post("/predict", files={"file": (name, data)})
            assert answer.status_code in (415, 422)
            assert_problem(answer, answer.status_code, answer.json()["type"].removeprefix("/problems/"))
