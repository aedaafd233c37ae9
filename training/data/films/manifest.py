"""What became of each film, in two files:

    manifest.json    what the store was made with, and a column per field of its films; replaced as a whole
    journal.jsonl    one line per film prepared since, appended after its pixels are on the disk; absent between preparations

Stores from before there was a manifest have only a journal, whose lines lack `source` and `by`: they are read and converted.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cxr import durable

Entry = dict[str, Any]
FILMS, MANIFEST, JOURNAL = "films.u8", "manifest.json", "journal.jsonl"
FORMAT = 1
COLUMNS = ("row", "slot", "bytes", "modified", "source", "by", "digest", "verdict", "box", "coverage")
SETTLE_SECONDS = 0.5  # at most so much work is done again after a kill


class StoreDamaged(RuntimeError):
    """A film store whose files contradict each other."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(
            f"film store {folder.name}: {what}. Remove that folder and prepare again: no source file is needed from it"
        )


def read_entries(folder: Path) -> dict[str, Entry]:
    """Row → its entry. Raises StoreDamaged."""
    # The journal first: whoever folds it into the manifest meanwhile has replaced the manifest before the journal goes.
    later = read_journal(folder / JOURNAL)
    given = read_header(folder)
    columns = given.get("films", {})
    good = [columns.get(name, ()) for name in COLUMNS]
    entries: dict[str, Entry] = {values[0]: dict(zip(COLUMNS, values, strict=True)) for values in zip(*good, strict=True)}
    entries |= {entry["row"]: entry for entry in given.get("failures", ())}
    return entries | later


def read_header(folder: Path) -> dict[str, Any]:
    """The manifest as it was written; empty when there is none. Raises StoreDamaged."""
    path = folder / MANIFEST
    try:
        given: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StoreDamaged(folder, f"{MANIFEST} is no JSON ({error})") from error
    if given.get("format") != FORMAT:
        raise StoreDamaged(folder, f"{MANIFEST} has format {given.get('format')!r}, this version reads {FORMAT}")
    return given


def read_journal(path: Path) -> dict[str, Entry]:
    """Later lines win; a last line cut by a kill is dropped."""
    entries: dict[str, Entry] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        entries[entry["row"]] = {"source": None, "by": None} | entry
    return entries


class Ledger:
    """The entries of one store while films are being prepared. In a `with`, so that nothing that was told stays unwritten."""

    def __init__(self, folder: Path, film_bytes: int) -> None:
        """`film_bytes` of one slot. Raises StoreDamaged when there are entries without pixels."""
        self.folder, self._film_bytes = folder, film_bytes
        self.entries = read_entries(folder)
        slots = 1 + max((entry["slot"] for entry in self.entries.values()), default=-1)
        has = (folder / FILMS).stat().st_size if (folder / FILMS).exists() else 0
        if has < slots * film_bytes:
            raise StoreDamaged(folder, f"{FILMS} has {has:,} bytes, its {slots:,} films take {slots * film_bytes:,}")
        self._next, self._unsettled, self._settled = slots, list[Entry](), time.monotonic()

    def slots(self, rows: Iterable[str]) -> dict[str, int]:
        """A slot for each row, its own for ever: new rows come behind, so that a cohort may grow without moving a film."""
        found: dict[str, int] = {}
        for row in rows:
            known = self.entries.get(row)
            found[row] = known["slot"] if known else self._next
            self._next += known is None
        return found

    def __enter__(self) -> Self:
        with (self.folder / FILMS).open("ab") as films:
            if films.tell() < self._next * self._film_bytes:
                films.truncate(self._next * self._film_bytes)
        journal = self.folder / JOURNAL
        torn = journal.exists() and not journal.read_bytes().endswith(b"\n")
        self._films, self._journal = os.open(self.folder / FILMS, os.O_RDWR), journal.open("a")
        if torn:  # else the next entry would be glued to the line that a kill has cut, and lost with it
            self._journal.write("\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._settle()
        finally:
            os.close(self._films)
            self._journal.close()

    def add(self, entry: Entry) -> None:
        """A film is ready and its pixels are written."""
        self.entries[entry["row"]] = entry
        self._unsettled.append(entry)
        if time.monotonic() - self._settled > SETTLE_SECONDS:
            self._settle()

    def _settle(self) -> None:
        if self._unsettled:
            os.fdatasync(self._films)  # a line that outlives a power cut must not speak of pixels that did not
            self._journal.writelines(json.dumps(entry) + "\n" for entry in self._unsettled)
            self._journal.flush()
        self._unsettled, self._settled = [], time.monotonic()

    def fold(self, made_with: Mapping[str, Any]) -> None:
        """Replace the manifest, then drop the journal. `made_with` is what the manifest says of the whole store."""
        ordered = sorted(self.entries.values(), key=lambda entry: entry["slot"])
        good = [entry for entry in ordered if "digest" in entry]
        given: dict[str, Any] = {"format": FORMAT, **made_with}
        given |= {"films": {name: [entry[name] for entry in good] for name in COLUMNS}}
        given |= {"failures": [entry for entry in ordered if "digest" not in entry]}
        durable.write(self.folder / MANIFEST, json.dumps(given).encode())
        (self.folder / JOURNAL).unlink(missing_ok=True)
