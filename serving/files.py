"""Films in files and folders → rows of answers, on the service's engine without the service, or from a service that runs."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

from cxr.errors import FileTooLarge, FilmError, TruncatedFile
from cxr.reading import Limits
from cxr.tasks import Task
from serving.answering import predicted
from serving.answers import NOTICE, Timings, answer
from serving.client import Refused, ask
from serving.errors import film_refusal
from serving.readiness import LoadedBundle

Row = Mapping[str, Any]
KINDS = (".csv", ".jsonl")
OF_A_FILM = (408, 413, 415, 422, 500)  # refusals after which the next film may be answered
OF_A_REQUEST = ("request_id", "evidence", "type", "status", "instance")  # what rows have no need of


class NoFilms(RuntimeError):
    """There is nothing to answer, or nowhere to write to; says why."""


def films_of(paths: Sequence[Path]) -> list[Path]:
    """Files as given, and of folders all that is in them and below, hidden ones aside, by name: DICOM files need no extension."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
            found += sorted(file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts))
        elif path.is_file():
            found.append(path)
        else:
            raise NoFilms(f"no file or folder {path}")
    if not found:
        raise NoFilms(f"no file in {', '.join(map(str, paths))}")
    return found


def answers(loaded: LoadedBundle, files: Sequence[Path], limits: Limits, threads: int = 1) -> Iterator[Row]:
    """One row per file, in order: {"file", "answer"} as POST /predict answers, or {"file", "problem"} with why it was refused."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda file: _row(file, lambda: _answer(loaded, file, limits)), files)


def served(url: str, files: Sequence[Path], limits: Limits, threads: int = 1) -> Iterator[Row]:
    """The same rows from the service at `url`, so many requests at once. Raises NoAnswer when it is gone or answers nobody."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda file: _row(file, lambda: _asked(url, file, limits)), files)


def tasks_of(model: Row) -> tuple[Task, ...]:
    """The tasks of a service, from what GET /model says."""
    return tuple(Task(card["name"], card["title"], tuple(card["classes"]), tuple(card["meanings"])) for card in model["tasks"])


def _row(file: Path, answered: Callable[[], Row]) -> Row:
    try:
        return {"file": str(file), "answer": answered()}
    except FilmError as error:
        return {"file": str(file), "problem": {"code": error.code, "title": error.title, **film_refusal(error)}}
    except Refused as error:
        if error.status not in OF_A_FILM:
            raise
        code = str(error.problem.get("type", "refused")).rpartition("/")[2]
        return {"file": str(file), "problem": {"code": code} | {k: v for k, v in error.problem.items() if k not in OF_A_REQUEST}}


def _asked(url: str, file: Path, limits: Limits) -> Row:
    answer = ask(url, "/predict", _content(file, limits))
    return {name: value for name, value in answer.items() if name not in OF_A_REQUEST}


def _answer(loaded: LoadedBundle, file: Path, limits: Limits) -> Row:
    started = perf_counter()
    data = _content(file, limits)
    read = perf_counter() - started
    prediction, seconds = predicted(loaded.bundle, data, limits)
    timings = Timings.of(read_body=read, total=perf_counter() - started, **seconds)
    full = answer(prediction, loaded, "", timings)
    return full.model_dump(mode="json", exclude={"request_id", "evidence"})


def _content(file: Path, limits: Limits) -> bytes:
    try:
        if file.stat().st_size > limits.max_bytes:  # before it is read: a folder may hold anything
            raise FileTooLarge(f"{file.stat().st_size:,} bytes", f"at most {limits.max_bytes:,} bytes")
        return file.read_bytes()
    except OSError as error:
        raise TruncatedFile(f"a file that cannot be read ({type(error).__name__})", "a readable file") from error


def write(rows: Iterable[Row], output: Path, tasks: Sequence[Task], told: Callable[[Row], None]) -> None:
    """Rows into a new file, one by one, as its ending says: .csv with a column per figure, .jsonl with the answers as they are."""
    if output.suffix not in KINDS:
        raise NoFilms(f"{output.name} ends in {output.suffix!r}; allowed: {', '.join(KINDS)}")
    with output.open("w", newline="", encoding="utf-8") as sheet:
        table = csv.DictWriter(sheet, columns(tasks))
        if output.suffix == ".csv":
            table.writeheader()
        for row in rows:
            if output.suffix == ".csv":
                table.writerow(flat(row, tasks))
            else:
                sheet.write(json.dumps(row, ensure_ascii=False) + "\n")
            sheet.flush()  # what is answered is kept, also when the next file ends the process
            told(row)


def columns(tasks: Sequence[Task]) -> list[str]:
    """The columns of the CSV, those of a refusal first."""
    of_tasks = [column for task in tasks for column in _of_task(task, None)]
    rest = ("lungs", "coverage", "box", "film_size", "quality", "film_digest", "model", "version", "bundle", "notice")
    return ["file", "problem", "detail", *of_tasks, *rest]


def flat(row: Row, tasks: Sequence[Task]) -> dict[str, Any]:
    """One row as the CSV has it; lists are joined by blanks."""
    if "problem" in row:
        return {"file": row["file"], "problem": row["problem"]["code"], "detail": row["problem"]["detail"], "notice": NOTICE}
    given = row["answer"]
    flattened = {"file": row["file"], "notice": given["notice"], "quality": " ".join(given["quality"])}
    for task in tasks:
        flattened |= _of_task(task, given[task.name])
    lungs, model = given["lungs"], given["model"]
    flattened |= {"lungs": lungs["verdict"], "coverage": round(lungs["coverage"], 4), "film_digest": given["film"]["digest"]}
    flattened |= {name: " ".join(map(str, lungs[name])) for name in ("box", "film_size")}
    return flattened | {"model": model["name"], "version": model["version"], "bundle": model["digest"]}


def _of_task(task: Task, given: Row | None) -> dict[str, Any]:
    """A task's columns; `given` None: their names alone."""
    found: dict[str, Any] = {task.name: given and given["label"]}
    for name in task.classes:
        found[f"{task.name}_p_{name}"] = given and round(given["probabilities"][name], 6)
    conformal = given and given["conformal"]
    return found | {
        f"{task.name}_set": conformal and " ".join(conformal["classes"]),
        f"{task.name}_abstain": conformal and (conformal["abstain"] is not None),
    }
