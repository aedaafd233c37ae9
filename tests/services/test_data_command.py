"""`mdmt data fetch public`: says what is there, where the rest is, and downloads nothing."""

import csv
import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.commands.data import PackIncomplete, data_app
from tests.training.data.cohorts.test_public_cxr import REAL, needs_real_films
from training.data import public_pack
from training.data.public_pack import PARTS, check

REPO = Path(__file__).parents[2]
PAGE = (REPO / public_pack.PAGE).read_text(encoding="utf-8")


def fetch(folder: Path) -> Result:
    return CliRunner().invoke(data_app, ["fetch", "public", "--data", str(folder)], env={"COLUMNS": "200"})


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack of three films with an outcome, documented as such, and nothing else."""
    films, content = ["a.png", "b.png", "c.png"], tmp_path / "pack.json"
    content.write_text(
        json.dumps(
            {
                "counts": {"public-prognosis": {"ITALY": {"MILD": 1, "SEVERE": 1}, "UK": {"MILD": 0, "SEVERE": 1}}},
                "films": {"public-prognosis": films},
            }
        )
    )
    parsed = json.loads(content.read_text())
    monkeypatch.setattr(public_pack, "documented", lambda: (parsed["counts"], parsed["films"]))
    monkeypatch.setattr(public_pack, "PARTS", PARTS[:1])
    labels(tmp_path, ["ITALY,MILD", "ITALY,SEVERE", "UK,SEVERE"], films)
    return tmp_path


def labels(root: Path, rows: list[str], films: list[str]) -> None:
    (root / "public-prognosis/images").mkdir(parents=True, exist_ok=True)
    header = "image,patient_id,centre,label,view,phase,confidence"
    lines = [f"images/{film},COHEN-{i},{row},PA,unknown,high" for i, (film, row) in enumerate(zip(films, rows, strict=True))]
    (root / "public-prognosis/labels.csv").write_text("\n".join([header, *lines]) + "\n")
    for film in films:
        (root / "public-prognosis/images" / film).touch()


def test_a_whole_pack_is_told_and_ends_with_0(small: Path) -> None:
    result = fetch(small)
    assert (result.exit_code, result.exception) == (0, None)
    assert "ITALY, SEVERE" in result.output
    assert "missing" not in result.output and "https" not in result.output


def test_an_empty_folder_names_every_source_and_ends_with_1(tmp_path: Path) -> None:
    result = fetch(tmp_path)
    assert result.exit_code == 1
    assert isinstance(result.exception, PackIncomplete)
    assert "Nothing is downloaded" in str(result.exception) and public_pack.PAGE in str(result.exception)
    joined = result.output.replace("\n", "")
    assert all(source.replace(" ", "") in joined.replace(" ", "") for part in PARTS for source in part.sources)
    assert list(tmp_path.iterdir()) == []


def test_films_that_lack_and_labels_that_are_fewer_are_missing(small: Path) -> None:
    (small / "public-prognosis/images/c.png").unlink()
    labels(small, ["ITALY,MILD", "ITALY,MILD"], ["a.png", "b.png"])
    found = {finding.of: (finding.found, finding.documented) for finding in check(small) if finding.missing}
    assert found == {"films of the pack": (2, 3), "ITALY, SEVERE": (0, 1), "UK, SEVERE": (0, 1)}
    assert fetch(small).exit_code == 1


def test_more_films_than_the_pack_are_told_and_are_no_fault(small: Path) -> None:
    labels(small, ["ITALY,MILD", "ITALY,SEVERE", "UK,SEVERE", "UK,SEVERE"], ["a.png", "b.png", "c.png", "d.png"])
    result = fetch(small)
    assert result.exit_code == 0
    assert "more than the pack" in result.output


def test_a_table_that_does_not_fit_its_films_says_why(small: Path) -> None:
    labels(small, ["ITALY,WORSE", "ITALY,SEVERE", "UK,SEVERE"], ["a.png", "b.png", "c.png"])
    (finding,) = [finding for finding in check(small) if finding.missing]
    assert "'WORSE' is no label" in finding.says
    assert "WORSE" in fetch(small).output


def test_another_pack_is_wrong_usage_that_names_what_is_allowed() -> None:
    result = CliRunner().invoke(data_app, ["fetch", "private"])
    assert result.exit_code == 2
    assert "public" in result.output


def test_the_page_has_the_counts_that_are_checked() -> None:
    counts, films = public_pack.documented()
    for folder in ("public-prognosis", "brixia-cohen"):
        for centre, by_label in counts[folder].items():
            assert f"| {centre} | {' | '.join(map(str, by_label.values()))} |" in PAGE
    for definition, pairs in counts["lung-masks"].items():
        assert f"| {definition} | {pairs['pairs']} |" in PAGE
    for part in PARTS:
        assert sum(n for by_label in counts[part.folder].values() for n in by_label.values()) == len(set(films[part.folder]))
        assert all(table in PAGE for table in part.tables)
        assert all(repository in PAGE for source in part.sources for repository in re.findall(r"github\.com/[\w./-]+", source))
    assert f"on {sum(map(len, films.values()))} films" in PAGE


@needs_real_films
def test_the_real_pack_is_whole_and_the_page_tells_its_rules_and_licences() -> None:
    assert not [finding for finding in check(REAL) if finding.missing or finding.found > finding.documented]
    with (REAL / "public-prognosis/labels.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for rule in ("S4", "M1b", "M2", "M3"):
        films = sum(row["rule"].startswith(f"{rule}-") for row in rows)
        assert re.search(rf"\| {rule} \|.*\| {films} \|", PAGE), rule
    assert os.path.commonpath([REAL, REPO]) != str(REPO)  # the films are not in the repository
