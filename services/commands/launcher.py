"""`mdmt launcher`: the one process that holds the engine's socket."""

from pathlib import Path
from typing import Annotated, Optional

import typer


def launcher(
    host: Annotated[str, typer.Option(help="Address to listen on; only the trainer should reach it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 2375,
    socket: Annotated[Optional[Path], typer.Option(help="The engine's socket, instead of MDMT_LAUNCHER_SOCKET.")] = None,  # noqa: UP045
) -> None:
    """Start unit containers for a trainer that has no engine: DOCKER_HOST=tcp://HOST:PORT there. Settings: MDMT_UNIT_…"""
    from services.launcher.server import serve
    from services.launcher.settings import Settings

    serve(Settings(launcher_socket=socket) if socket else Settings(), host, port)
