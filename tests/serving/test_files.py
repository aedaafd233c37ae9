"""`mdmt predict`, without a service and with one: films in files and folders become rows."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import mdmt
from cxr.reading import Limits
from cxr.tasks import PROGNOSIS, SEVERITY
from serving import registry
from serving.answers import NOTICE
from serving.client import NoAnswer, wait_until_ready
from serving.files import NoFilms, Row, answers, columns, films_of, served, write
from serving.keys import add_key
from serving.readiness import LoadedBundle, Source
from serving.server import running
from serving.settings import Settings
from tests.serving.conftest import service
from tests.serving.test_predictions import PNG, as_dicom
from tests.serving.tiny_bundle import encoded, film, loader

TASKS = (PROGNOSIS, SEVERITY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two films, one of them without an ending, a text, and what a file system leaves behind."""
    below = tmp_path / "films" / "below"
    below.mkdir(parents=True)
    (tmp_path / "films" / "a.png").write_bytes(encoded(film(seed=1)))
    (below / "IM0001").write_bytes(as_dicom(film(seed=2)))
    (below / "notes.txt").write_text("not a film")
    (tmp_path / "films" / ".DS_Store").write_bytes(b"x")
    return tmp_path / "films"


@pytest.fixture(scope="module")
def loaded(bundle_folder: Path) -> LoadedBundle:
    return loader(bundle_folder)()


def test_folders_are_searched_and_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    assert [file.name for file in films_of([folder])] == ["a.png", "IM0001", "notes.txt"]
    assert films_of([folder / "a.png"]) == [folder / "a.png"]
    for paths, said in (([tmp_path / "none"], "no file or folder"), ([], "no file in")):
        with pytest.raises(NoFilms, match=said):
            films_of(paths)


@pytest.fixture(scope="module")
def url(bundle_folder: Path) -> Iterator[str]:
    """A service on a port."""
    with running(Settings(retry_seconds=0.05), loader(bundle_folder)) as url:
        wait_until_ready(url)
        yield url


def without_times(rows: Iterable[Row]) -> list[Row]:
    return [row | {"answer": {**row["answer"], "timings_ms": None}} if "answer" in row else row for row in rows]


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_are_what_the_service_answers_in_the_order_of_the_files(
    folder: Path, loaded: LoadedBundle, bundle_folder: Path, threads: int
) -> None:
    rows = list(answers(loaded, films_of([folder]), Limits(), threads))
    with service(loader(bundle_folder)) as client:
        for row in rows[:2]:
            served = client.post("/predict", content=Path(row["file"]).read_bytes(), headers=PNG).json()
            for name in ("prognosis", "severity", "lungs", "film", "model", "quality", "warnings", "notice"):
                assert row["answer"][name] == served[name]
    assert rows[2]["problem"]["code"] == "unsupported-format"


@pytest.mark.parametrize("threads", [1, 3])
def test_a_service_that_runs_gives_the_same_rows(folder: Path, loaded: LoadedBundle, url: str, threads: int) -> None:
    (folder / "none.png").write_bytes(encoded(film(lungs=0)))
    files = films_of([folder])
    there, here = (without_times(rows) for rows in (served(url, files, Limits(), threads), answers(loaded, files, Limits())))
    assert there == here
    assert [row["problem"]["code"] for row in there if "problem" in row] == ["unsupported-format", "no-lungs"]


def test_a_refusal_that_is_of_no_film_ends_the_run(folder: Path, bundle_folder: Path, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "ward 3", ("predict",))
    guarded = Settings(retry_seconds=0.05, keys_file=tmp_path / "keys.json")
    with running(guarded, loader(bundle_folder)) as url, pytest.raises(NoAnswer, match="No valid API key"):
        list(served(url, films_of([folder]), Limits()))
    with pytest.raises(NoAnswer, match="no service answers"):
        list(served(url, films_of([folder]), Limits()))


def test_a_file_beyond_the_limit_is_refused_unread(folder: Path, loaded: LoadedBundle) -> None:
    (row,) = answers(loaded, [folder / "a.png"], Limits(max_bytes=100))
    assert row["problem"]["code"] == "file-too-large"


def test_csv_and_jsonl_hold_every_answer_and_refusal(folder: Path, loaded: LoadedBundle, tmp_path: Path) -> None:
    rows = list(answers(loaded, films_of([folder]), Limits()))
    for name in ("results.csv", "results.jsonl"):
        told: list[object] = []
        write(rows, tmp_path / name, TASKS, told.append)
        assert told == rows
    assert [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()] == rows
    with (tmp_path / "results.csv").open(newline="") as sheet:
        table = list(csv.DictReader(sheet))
    assert list(table[0]) == columns(TASKS)
    for row, line in zip(rows[:2], table, strict=False):
        for task in TASKS:
            assert line[task.name] == row["answer"][task.name]["label"]
            for label, share in row["answer"][task.name]["probabilities"].items():
                assert float(line[f"{task.name}_p_{label}"]) == pytest.approx(share, abs=1e-6)
        assert (line["problem"], line["version"], line["notice"]) == ("", "7", NOTICE)
    assert (table[2]["problem"], table[2]["prognosis"]) == ("unsupported-format", "")


def test_an_empty_file_is_refused_here_as_by_a_service(loaded: LoadedBundle, url: str, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (here,) = answers(loaded, [tmp_path / "empty.png"], Limits())
    (there,) = served(url, [tmp_path / "empty.png"], Limits())
    assert here == there and here["problem"]["code"] == "empty-body"


def test_an_output_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoFilms, match=r"\.csv, \.jsonl"):
        write([], tmp_path / "results.xlsx", TASKS, lambda row: None)


@pytest.fixture
def command(loaded: LoadedBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`mdmt predict` of a machine whose registry has the version."""
    monkeypatch.setenv("MDMT_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(registry, "registry_source", lambda settings: Source.fixed(lambda: loaded))
    return lambda *given: CliRunner().invoke(mdmt.app, ["predict", "--workers", "1", *map(str, given)])


def test_the_command_writes_a_row_per_film(folder: Path, tmp_path: Path, command: Callable[..., Result]) -> None:
    result = command(folder, "--output", tmp_path / "results.csv")
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_command_asks_a_service_in_the_same_words(
    folder: Path, url: str, tmp_path: Path, command: Callable[..., Result], kind: str
) -> None:
    here, there = tmp_path / f"here.{kind}", tmp_path / f"there.{kind}"
    said = [command(folder, "--output", file, *more).output for file, more in ((here, ()), (there, ("--url", url)))]
    assert "2 answered, 1 refused, by mdmt version 7" in " ".join(said[1].split())
    if kind == "csv":
        assert there.read_text() == here.read_text()
    else:
        rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in (there, here)]
        assert without_times(rows[0]) == without_times(rows[1])


def test_the_command_holds_the_limits_that_the_service_is_set_to(
    folder: Path, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDMT_MAX_PIXELS", "1000")
    assert json.loads(command(folder / "a.png").output)["problem"]["code"] == "file-too-large"
