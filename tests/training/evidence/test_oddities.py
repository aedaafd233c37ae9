"""What is expected of an awkward file is read from the table's words, and every word of it counts."""

from pathlib import Path

import pytest

from cxr.gate import Gate
from tests.cxr.chests import SPEC, segmenter
from training.evidence.gate_cases import Said
from training.evidence.oddities import ask, matches, patients_of, read_table

ANSWERED, FLAGGED = Said(), Said(flags=("dull",))
BROKEN, UPSIDE_DOWN = Said("truncated-file"), Said("not-a-frontal-chest", "upside-down", 2.0)
STRANGE = Said("not-a-frontal-chest", "unlike-training", 3.0)


@pytest.mark.parametrize(
    ("expected", "fit", "unfit"),
    [
        ("accept, downscale", (ANSWERED, FLAGGED), (BROKEN, UPSIDE_DOWN)),
        ("reject with a clear error", (BROKEN, STRANGE), (ANSWERED, FLAGGED)),
        ("reject or flag: not frontal", (STRANGE, FLAGGED), (ANSWERED,)),
        ("accept with warning", (FLAGGED, UPSIDE_DOWN), (ANSWERED, BROKEN, STRANGE)),
        ("accept with warning or flag", (FLAGGED, UPSIDE_DOWN), (ANSWERED, STRANGE)),
        ("accept or reject with a clear error", (ANSWERED, FLAGGED, BROKEN), ()),
    ],
)
def test_an_answer_or_refusal_fits_the_words(expected: str, fit: tuple[Said, ...], unfit: tuple[Said, ...]) -> None:
    assert all(matches(expected, said) for said in fit)
    assert not any(matches(expected, said) for said in unfit)


def test_words_that_ask_for_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="'look at it'; allowed"):
        matches("look at it", ANSWERED)


def test_files_are_asked_in_the_order_of_their_table_and_a_missing_one_is_named(tmp_path: Path) -> None:
    table = tmp_path / "oddities.csv"
    table.write_text("file,kind,expected,patient_id\nb.png,text,reject,\na.png,empty,accept,P1\n")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"lists b\.png"):
        ask(tmp_path, SPEC, segmenter(), Gate())
    (tmp_path / "b.png").write_text("not a picture")
    assert [(one.oddity.file, one.said.answered, one.fits) for one in ask(tmp_path, SPEC, segmenter(), Gate())] == [
        ("b.png", False, True),
        ("a.png", False, False),
    ]
    assert patients_of(tmp_path) == {"P1"}
    assert read_table(tmp_path / "elsewhere") == []
