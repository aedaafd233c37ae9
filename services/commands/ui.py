"""`mdmt ui`: the MLflow UI over this machine's own tracking database."""

from typing import Annotated

import typer

from services.environment import home


def ui(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Open the MLflow UI over this machine's own tracking database (with MLFLOW_TRACKING_URI set, open that server instead)."""
    from services.tracking.server import serve_ui

    serve_ui(home(), port)
