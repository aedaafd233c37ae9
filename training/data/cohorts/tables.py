"""Spreadsheets of data sets → text tables: every cell a stripped string, columns under the names the readers use."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from training.data.cohort import CohortError

SEPARATORS = (";", ",", "\t")


def read_table(cohort: str, path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """`.csv` (separator found in the header, UTF-8 with or without BOM), `.xls` or `.xlsx` (first sheet) → table of strings.

    Columns are found whatever their case, spaces, hyphens and underscores, and named as asked; other columns are dropped.
    Empty cells are "", rows without any text are dropped, and the index is the row number that a spreadsheet program shows
    (the header is row 1). Raises CohortError for a missing file or column, an unknown suffix, and text that is not UTF-8.
    """
    if not path.is_file():
        raise CohortError(cohort, [f"{path.name} is not in {path.parent}"])
    table = _read(cohort, path).fillna("").astype(str)
    table = table.apply(lambda column: column.str.strip())
    table.index = pd.RangeIndex(2, len(table) + 2)
    table = table[(table != "").any(axis=1)]
    found: dict[str, list[str]] = {}
    for column in table.columns:
        found.setdefault(_plain(str(column)), []).append(column)
    wanted = {name: found.get(_plain(name), []) for name in (*required, *optional)}
    listed = ", ".join(map(str, table.columns))
    problems = [f"{path.name} has no column {name}; found: {listed}" for name in required if not wanted[name]]
    problems += [
        f"{path.name} has {len(columns)} columns for {name} ({', '.join(columns)}); keep one"
        for name, columns in wanted.items()
        if len(columns) > 1
    ]
    if problems:
        raise CohortError(cohort, problems)
    return table[[columns[0] for columns in wanted.values() if columns]].set_axis(
        [name for name, columns in wanted.items() if columns], axis=1
    )


def records(table: pd.DataFrame) -> Iterable[tuple[int, dict[str, str]]]:
    """(row number as a spreadsheet program shows it, {column: text}) of a table from `read_table`."""
    for number, cells in zip(table.index, table.to_dict("records"), strict=True):
        yield int(number), {str(column): str(text) for column, text in cells.items()}


def _plain(column: str) -> str:
    return "".join(letter for letter in column.casefold() if letter not in " _-\t\n\ufeff")


def _read(cohort: str, path: Path) -> pd.DataFrame:
    match path.suffix.lower():
        case ".csv":
            return _read_csv(cohort, path)
        case ".xls" | ".xlsx":
            return _read_sheet(cohort, path)
        case suffix:
            raise CohortError(cohort, [f"{path.name} has suffix {suffix!r}; allowed: .csv, .xls, .xlsx"])


def _read_sheet(cohort: str, path: Path) -> pd.DataFrame:
    try:
        # Without a header for pandas: it would give a second column of a name another one, by which nobody could see that there are two.
        table = pd.read_excel(path, header=None, dtype=str, keep_default_na=False)
    except Exception as error:  # a damaged or encrypted workbook ends in one of a dozen classes of three packages
        found = f"{path.name} is no spreadsheet that can be read ({type(error).__name__})"
        raise CohortError(cohort, [f"{found}; if it opens with a password, save it without one"]) from error
    if table.empty:
        raise CohortError(cohort, [f"{path.name} is empty; its first row must name the columns"])
    return table[1:].set_axis(table.iloc[0].fillna("").astype(str), axis=1)


def _read_csv(cohort: str, path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline()
            lines.seek(0)
            reader = csv.reader(lines, delimiter=max(SEPARATORS, key=header.count), strict=True)
            rows = list(reader)
    except UnicodeDecodeError:
        raise CohortError(cohort, [f"{path.name} is not UTF-8; save it as “CSV UTF-8”"]) from None
    except csv.Error as error:  # a quote that is never closed takes all that follows into its cell
        found = f"{path.name} has a quote out of place in or before line {reader.line_num} ({error}); close it, or write it twice"
        raise CohortError(cohort, [found]) from None
    if not rows:
        raise CohortError(cohort, [f"{path.name} is empty; its first row must name the columns"])
    columns, *body = rows
    width = len(columns)
    if long := [number for number, row in enumerate(body, 2) if any(row[width:])]:
        raise CohortError(cohort, [f"{path.name} row {n} has more cells than the {width} columns; quote its text" for n in long])
    return pd.DataFrame([row[:width] + [""] * (width - len(row)) for row in body], columns=columns, dtype=str)
