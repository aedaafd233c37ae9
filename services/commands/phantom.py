"""`mdmt phantom`: a cohort of generated chest X-rays."""

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console


class CannotWrite(RuntimeError):
    """The cohort or its contact sheet cannot be written where it should be."""


def phantom(
    folder: Annotated[Path, typer.Option(help="Where the cohort is written.")] = Path("state/phantom"),
    full: Annotated[
        bool, typer.Option("--full", help="The published cohorts' sizes: 1,586 + 4,707 films of 1,000-2,000 pixels.")
    ] = False,
    prognosis: Annotated[int, typer.Option(min=9, help="Films with an outcome.")] = 300,
    severity: Annotated[int, typer.Option(min=1, help="Films with a Brixia score.")] = 400,
    pairs: Annotated[int, typer.Option(min=1, help="Films with a lung mask.")] = 160,
    films_per_subject: Annotated[
        float, typer.Option(min=1, help="Mean number of films of one person with a Brixia score.")
    ] = 2.0,
    loading: Annotated[
        float, typer.Option(min=0.05, max=0.99, help="Correlation of each zone with severity; the rest is noise.")
    ] = 0.8,
    link: Annotated[
        float, typer.Option(min=0, max=20, help="Log odds of SEVERE per standard deviation of severity; 0 cuts the link.")
    ] = 2.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    sheet: Annotated[Optional[Path], typer.Option(help="Also write a contact sheet PNG.")] = None,  # noqa: UP045
    workers: Annotated[int, typer.Option(min=1, help="Processes; default: the cores of this machine.")] = os.cpu_count() or 1,
) -> None:
    """Make a cohort of generated chest X-rays in the layouts of AIforCOVID and BRIXIA."""
    from services.console import bar, phantom_report
    from training.data.cohorts.phantom import PhantomSpec, contact_sheet, generate

    sizes = {"prognosis_films": prognosis, "severity_films": severity, "lung_pairs": pairs}
    model = {"films_per_subject": films_per_subject, "loading": loading, "link": link, "seed": seed}
    out = Console(width=None if sys.stdout.isatty() else 165)
    spec = PhantomSpec(**model) if full else PhantomSpec.small(**sizes, **model)
    try:
        with bar(out, "phantom films") as progress:
            report = generate(folder, spec, workers, progress)
        out.print(phantom_report(report))
        if sheet:
            contact_sheet(spec, sheet)
    except OSError as error:
        place = error.filename or folder
        raise CannotWrite(
            f"cannot write {place}: {error.strerror or error}; name another place with --folder or --sheet"
        ) from error
