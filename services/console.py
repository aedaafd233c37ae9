"""What a person at a terminal sees: progress bars, the comparison, checklists."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from training.data.cohort import Cohort
from training.data.cohorts.phantom import PhantomReport
from training.data.films import FilmStore
from training.evaluation.results import Line
from training.evaluation.table import HEADER, legend, rows
from training.protocol.doctor import Finding as Checked
from training.protocol.estimate import Estimate
from training.protocol.finding import Finding
from training.protocol.plan import Plan, Unit

# What a person should know while it runs; everything else is progress.
REMARKS = {
    "failed": "{title}: {kind}: {reason}",
    "lost": "{title}: {reason}",
    "disk-full": "disk full ({free_gib:.1f} GiB left): nothing new is begun until there is room",
    "tracking-away": "{title}: the tracking server does not answer ({reason}); training goes on, figures are kept until it is back",
    "files-lost": "{title}: trained again, for files of its finished run {run} are not in the artifact store any more",
    "tracking-back": "{title}: the tracking server is back",
}
LINE_SECONDS = 60.0  # between two lines about one stage, where there is no terminal


class _Bars(Progress):
    """Bars that move; where nobody sees them move, as in the log of a batch job, a line per stage and minute as well."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        super().__init__(*columns, console=console, refresh_per_second=4)
        self._told: dict[TaskID, float] = {}

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        if self.console.is_terminal:
            return
        if time.monotonic() >= self._told.get(task_id, 0.0):
            self._told[task_id] = time.monotonic() + LINE_SECONDS
            task = next(task for task in self.tasks if task.id == task_id)
            done = f"{task.completed:.0f}/{'?' if task.total is None else f'{task.total:.0f}'}"
            line = f"{datetime.now():%H:%M:%S} {task.description} {done} {task.fields['note']}"
            self.console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    return _Bars(
        TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console,
    )  # fmt: skip


@contextmanager
def bar(console: Console, name: str) -> Iterator[Callable[[int, int], None]]:
    """A single bar; gives a function of (done, total)."""
    with _progress(console) as progress:
        task = progress.add_task(name, total=None, note="")
        yield lambda done, total: progress.update(task, completed=done, total=total)


class StudyView:
    """One bar per stage, and one for the units with the latest epoch beside it."""

    def __init__(self, console: Console) -> None:
        self._progress = _progress(console)
        self._stages: dict[str, TaskID] = {}
        self._epochs: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, name: str, done: int, total: int) -> None:
        if name not in self._stages:
            self._stages[name] = self._progress.add_task(name, total=total, note="")
        self._progress.update(self._stages[name], completed=done, total=total)

    def units(self, plan: Plan, to_run: int) -> None:
        if to_run:
            self._stages["units"] = self._progress.add_task("units", total=to_run, note="")

    def unit_event(self, unit: Unit, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "epoch":
            self._epochs[unit.fingerprint] = f"{unit.experiment} {unit.fold} epoch {event['epoch']}"
        else:
            self._epochs.pop(unit.fingerprint, None)
        if kind == "done" or (kind == "failed" and event["quarantined"]):
            self._progress.advance(self._stages["units"])
        if kind in REMARKS:
            self._progress.console.print(REMARKS[kind].format(title=unit.title, **event), markup=False, highlight=False)
        self._progress.update(self._stages["units"], note=" · ".join(self._epochs.values()))


def comparison(lines: Sequence[Line]) -> Table:
    """Mean ± sd over folds, percent."""
    table = Table(*HEADER, title="test folds, mean ± sd in percent")
    table.caption = legend(lines)
    for line, row in zip(lines, rows(lines), strict=True):
        table.add_row(*row, style="bold" if line.experiment == "mdmt" else "")
    return table


def phantom_report(report: PhantomReport) -> Table:
    """What was made, and the accuracy of prognosis that nobody can exceed on it."""
    table = Table("what", "counts", title="phantom")
    for name in ("films", "patients", "prognosis", "severity"):
        table.add_row(name, ", ".join(f"{key} {n}" for key, n in getattr(report, name).items()))
    centres = (f"{c} {n.get('MILD', 0)}/{n.get('SEVERE', 0)}" for c, n in report.prognosis_by_centre.items())
    table.add_row("MILD/SEVERE by centre", ", ".join(centres))
    bound = f"{report.bayes_accuracy_population:.1%} in an endless cohort, {report.bayes_accuracy_expected:.1%} on these films"
    table.add_row("best possible accuracy of prognosis", bound)
    return table


def store_report(cohorts: Sequence[Cohort], stores: Mapping[str, FilmStore]) -> Table:
    """Counts and lung verdicts of every cohort; every film that could not be prepared, with its reason."""
    table = Table("cohort", "what", "counts", title="prepared films")
    for cohort in cohorts:
        for name, counts in cohort.counts().items():
            table.add_row(cohort.name, name, ", ".join(f"{k} {v}" for k, v in counts.items()))
        store = stores[cohort.name]
        table.add_row(cohort.name, "verdict", ", ".join(f"{k} {v}" for k, v in sorted(store.verdicts().items())))
        for row, entry in store.failures.items():
            table.add_row(cohort.name, "left out", escape(f"{row}: {entry['message']}"), style="yellow")
    return table


def checklist(findings: Sequence[Checked]) -> Table:
    """What `mdmt doctor` found."""
    table = Table("", "what", "found", "how to get it", title="this machine")
    for finding in findings:
        sign = "[green]✓" if finding.there else "[red]✗" if finding.needed else "[yellow]–"
        table.add_row(sign, finding.what, finding.found, "" if finding.there else finding.remedy)
    return table


def plan_report(estimate: Estimate, workers: int) -> Table:
    """Units by experiment, and what they will take."""
    table = Table("experiment", "scheme", "subset", "units", "new", title="plan")
    for (experiment, scheme, subset), (units, new) in estimate.counts.items():
        table.add_row(experiment, scheme, subset, str(units), str(new) if new else "0, all shared")
    table.add_section()
    table.add_row("all", "", "", str(estimate.units), str(estimate.distinct), style="bold")
    low, high = estimate.hours
    path = estimate.critical
    table.caption = (
        f"one worker {low:,.1f} to {high:,.1f} hours (early stopping decides), {workers} workers at best {low / workers:,.1f} to "
        f"{high / workers:,.1f}\ncritical path {path[0]:,.1f} to {path[1]:,.1f} hours: {' → '.join(estimate.chain)}\n"
        f"costs: {'; '.join(estimate.sources)}"
    )
    if estimate.units > estimate.distinct:
        saved = 1 - (low + high) / sum(estimate.alone)
        spared = estimate.units - estimate.distinct
        table.caption += f"\nsharing saves {spared:,} of {estimate.units:,} trainings, {saved:.0%} of the hours"
    if estimate.unknown:
        table.caption += f"\nnot measured on this device, hours of one CPU thread: {', '.join(estimate.unknown)}"
    return table


def findings_report(findings: Sequence[Finding]) -> Table:
    """What a search found for each fold, beside the recipe's own settings."""
    table = Table("fold", "trials", "validation loss", "of the recipe's settings", "found", title="search")
    for finding in findings:
        own = "failed" if finding.own is None else f"{finding.own:.4f}"
        counts = ", ".join(f"{n} {state}" for state, n in finding.trials.items())
        found = {**finding.tuned.training, "beta": finding.tuned.beta}
        table.add_row(finding.place, counts, f"{finding.best:.4f}", own, escape(", ".join(f"{k} {v}" for k, v in found.items())))
    return table
