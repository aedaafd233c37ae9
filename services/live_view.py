"""A protocol of the training service on a terminal: a bar per experiment, units by state, time left, latest events."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.trainer.states import STANDINGS

COLOURS = {"finished": "green", "failed": "red", "cancelled": "yellow", "stopped": "yellow"}


def follow(answers: Iterable[Mapping[str, Any]], console: Console) -> Mapping[str, Any]:
    """Show a protocol until it is over; returns how it ended. Where nobody can watch, lines instead of a picture."""
    answer: Mapping[str, Any] = {}
    if not console.is_terminal:
        shown: tuple[Any, ...] = ()
        for answer in answers:
            now = (answer["state"], answer["waiting_for"], answer["stage"], answer["units"])
            if now != shown:
                console.print(_in_a_line(answer), markup=False, highlight=False, soft_wrap=True)
                shown = now
        return answer
    with Live(console=console, refresh_per_second=4) as live:
        for answer in answers:
            live.update(picture(answer))
    return answer


def picture(answer: Mapping[str, Any]) -> RenderableType:
    """One protocol."""
    parts: list[RenderableType] = [_head(answer)]
    if answer["experiments"]:
        parts.append(_bars(answer["experiments"]))
    if answer["units"] and answer["units"]["total"]:
        parts.append(Text(_counts(answer)))
    parts += [Text(f"{f['unit']}: {f['reason']}", style="red" if f["final"] else "yellow") for f in answer["failures"][-3:]]
    parts += [Text(line, style="dim") for line in answer["recent"]]
    return Group(*parts)


def listing(lines: Sequence[Mapping[str, Any]]) -> Table:
    """All protocols."""
    table = Table("id", "recipe", "state", "submitted (UTC)", "note", title="protocols")
    for line in lines:
        state = f"[{COLOURS.get(line['state'], 'cyan')}]{line['state']}"
        table.add_row(
            line["id"], escape(line["recipe"]), state, line["submitted"][:19].replace("T", " "), escape(line["note"][:120])
        )
    return table


def _head(answer: Mapping[str, Any]) -> Text:
    head = Text.assemble(
        (f"protocol {answer['id']}", "bold"), f"  {answer['recipe']}  ", (answer["state"], COLOURS.get(answer["state"], "cyan")),
        f"  {answer['slots']} slots, {answer['executor']}",
    )  # fmt: skip
    if answer["note"]:
        head.append(f"\n{answer['note']}")
    if answer["cancel_requested"]:
        head.append("\nbeing cancelled: running units are given back", "yellow")
    if answer["waiting_for"]:
        head.append(f"\nwaiting: {answer['waiting_for']}", "yellow")
    if answer["stage"]:
        head.append(f"\nnow: {_stage(answer['stage'])}")
    return head


def _bars(experiments: Sequence[Mapping[str, Any]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for row in experiments:
        name = f"{row['experiment']} {row['scheme']}" + ("" if row["subset"] == "all" else f" {row['subset']}")
        over = row["done"] + row["failed"] + row["skipped"]
        extra = ", ".join(f"{row[state]} {state}" for state in ("running", "failed", "skipped") if row[state])
        table.add_row(escape(name), ProgressBar(row["total"], over, width=40), f"{row['done']}/{row['total']}", extra)
    return table


def _counts(answer: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{answer['units'][state]} {state}" for state in STANDINGS if answer["units"][state])
    left = answer["seconds_left"]
    return f"units: {counts}" + (f"; about {timedelta(seconds=round(left))} left" if left else "")


def _stage(stage: Mapping[str, Any]) -> str:
    return stage["name"] + (f" {stage['done']}/{stage['total']}" if "total" in stage else "")


def _in_a_line(answer: Mapping[str, Any]) -> str:
    parts = [answer["state"]]
    if answer["note"]:
        parts.append(answer["note"])
    if answer["waiting_for"]:
        parts.append(f"waiting: {answer['waiting_for']}")
    if answer["stage"]:
        parts.append(_stage(answer["stage"]))
    if answer["units"] and answer["units"]["total"]:
        parts.append(_counts(answer))
    return "; ".join(parts)
