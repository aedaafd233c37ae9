"""What a report is made of: sections of tables and pictures, as values that become HTML or Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

Kind = Literal["", "paper", "best", "missing", "partial"]
TITLES = {
    "acc": "ACC",
    "f1": "F1",
    "gmean": "G-mean",
    "auc": "AUC",
    "kappa": "κ",
    "mae": "MAE",
    "ece": "ECE",
    "brier": "Brier",
}
PERCENT = ("acc", "f1", "gmean", "auc")  # printed × 100 as in the paper
LOWER_IS_BETTER = ("mae", "ece", "brier")


@dataclass(frozen=True)
class Cell:
    """One field of a table. `hint` is a longer explanation, shown on pointing."""

    text: str
    kind: Kind = ""
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """`groups` are (title, number of columns) above `columns`; the first `heads` columns head their row. No field may be blank.

    `folded`: shown when asked for; `prose`: words, not figures.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    heads: int = 1
    groups: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    folded: bool = False
    prose: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns) or not all(cell.text.strip() for cell in row):
                raise ValueError(
                    f"table {self.caption!r}: a row has {[c.text for c in row]}; needed: one text per {self.columns}"
                )
        if self.groups and sum(n for _, n in self.groups) != len(self.columns):
            raise ValueError(f"table {self.caption!r}: groups {self.groups} do not span its {len(self.columns)} columns")

    @property
    def flat_columns(self) -> tuple[str, ...]:
        """One heading per column, with its group's title, for formats without headings over several columns."""
        groups = [title for title, n in self.groups for _ in range(n)] or [""] * len(self.columns)
        return tuple(f"{group} {column}".strip() for group, column in zip(groups, self.columns, strict=True))


@dataclass(frozen=True)
class Picture:
    """An SVG with its caption; `legend` is (CSS class of the stroke, text)."""

    svg: str
    caption: str
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Section:
    """`reading` is one sentence on how to read it; `remarks` are further paragraphs; pictures come in one grid below the tables."""

    anchor: str
    title: str
    reading: str
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    remarks: Sequence[str] = ()

    @classmethod
    def of(cls, anchor: str, title: str, reading: str, *tables: Table, remarks: Sequence[str] = ()) -> Self:
        return cls(anchor, title, reading, tables, remarks=remarks)


def cells(*texts: str) -> tuple[Cell, ...]:
    return tuple(Cell(text) for text in texts)


def shown(metric: str, value: float, spread: float | None = None) -> str:
    """A figure as the tables print it: percent with one decimal, or three decimals; with "± spread" if there is one."""
    scale, digits = (100, 1) if metric in PERCENT else (1, 3)
    text = f"{scale * value:.{digits}f}"
    return text if spread is None else f"{text} ± {scale * spread:.{digits}f}"


def change(metric: str, value: float) -> str:
    """A difference, always with its sign."""
    scale, digits = (100, 1) if metric in PERCENT else (1, 3)
    return f"{scale * value:+.{digits}f}".replace("-", "−")
