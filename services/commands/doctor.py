"""`mdmt doctor`: what this machine has."""

import os
import sys

import typer
from rich.console import Console

from services.environment import home


def doctor() -> None:
    """Say what this machine has, what is missing, and how to get it. Exit code 1 when something that every recipe needs is missing."""
    from services.console import checklist
    from training.protocol.doctor import examine

    findings = examine(home(), os.environ.get("MLFLOW_TRACKING_URI"))
    Console(width=None if sys.stdout.isatty() else 165).print(checklist(findings))
    if any(finding.needed and not finding.there for finding in findings):
        raise typer.Exit(1)
