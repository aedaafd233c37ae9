import pytest

from training.evidence.page import PICTURES, NoPlace, Part, keep, markdown, picture, put

PART = Part("real-x", "X", ("One.", "", picture("a.png", "bars")), {"a.png": b"png"}, {"films.png": b"films"})
PAGE = "# Evidence\n\n<!-- real-x -->\nold\n<!-- /real-x -->\n\n<!-- real-y -->\nother\n<!-- /real-y -->\n"


def test_a_part_replaces_what_stood_between_its_marks_and_nothing_else(tmp_path):
    page = tmp_path / "evidence.md"
    page.write_text(PAGE)
    put(PART, page)
    put(PART, page)
    text = page.read_text()
    assert "old" not in text and text.count("## X") == 1 and text.startswith("# Evidence\n") and "other" in text
    assert (tmp_path / PICTURES / "a.png").read_bytes() == b"png" and not (tmp_path / "films.png").exists()


def test_films_are_kept_beside_the_report_folder_which_goes_to_mlflow(tmp_path):
    keep(PART, tmp_path / "x")
    assert markdown(PART) == (tmp_path / "x" / "evidence.md").read_text()
    assert (tmp_path / "x-films" / "films.png").read_bytes() == b"films" and not list((tmp_path / "x").rglob("films.png"))


@pytest.mark.parametrize("text", ["", "<!-- real-x -->", PAGE + PAGE])
def test_a_page_without_one_place_for_the_part_is_refused_unchanged(tmp_path, text):
    page = tmp_path / "evidence.md"
    page.write_text(text)
    with pytest.raises(NoPlace, match="real-x"):
        put(PART, page)
    assert page.read_text() == text
