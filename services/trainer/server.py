"""The service as a process: it ends with code 0 within ten seconds of SIGTERM, with everything that was running given back."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from cxr.signature import signing_key
from services.executors.choice import make_executor
from services.executors.crew import PATIENCE
from services.log_lines import log_lines
from services.trainer.app import create_app
from services.trainer.orders import order_of
from services.trainer.settings import Settings
from training.protocol.recipe import load_recipe

HTTP_SECONDS = 1  # streams of events end by themselves; whoever still sends has this long
PUT_DOWN_SECONDS = 9.0  # from the signal on; workers have eight of them
LOGGING = log_lines({"services": "INFO", "training": "INFO", "uvicorn": "WARNING"})
log = logging.getLogger(__name__)


class CannotListen(RuntimeError):
    """The address is taken, or is none of this machine's."""


class _Server(uvicorn.Server):
    """Begins to put the work down when the signal comes, not after the last request."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop
        self.told_at = time.monotonic()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stop()
        self.told_at = time.monotonic()
        super().handle_exit(sig, frame)


def serve(settings: Settings, host: str, port: int, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. With port 0 the system chooses; `listening` is told the base URL once it can be connected to.

    Raises RecipeError and Refused when the recipe of the settings cannot be worked on, BadKey for a key to sign with that is none,
    CannotListen. Ends the process, with code 0.
    """
    signing_key()  # now, and not when everything is trained
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the server listens to it, and after that
    os.environ.update(PATIENCE)  # the work waits for MLflow by itself, and a caller is better refused than kept waiting
    at_start = order_of(load_recipe(settings.recipe), None, True, settings) if settings.recipe else None
    app = create_app(settings, make_executor, at_start)
    config = uvicorn.Config(
        app, host=host, port=port, access_log=False, log_config=LOGGING, timeout_graceful_shutdown=HTTP_SECONDS,
        server_header=False,
    )  # fmt: skip
    listener = _bound(config)
    listener.listen(config.backlog)
    listening(f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}")
    server = _Server(config, app.state.ledger.stop)
    with suppress(SystemExit, KeyboardInterrupt):  # uvicorn hands the signal on when it has ended
        server.run(sockets=[listener])
    _put_down(app, server)


def _bound(config: uvicorn.Config) -> socket.socket:
    """uvicorn would end the process with a code of its own."""
    try:
        return config.bind_socket()
    except SystemExit as ended:
        raise CannotListen(
            f"cannot listen on {config.host}, port {config.port}: {ended.__context__}; stop what listens there, or give another --host or "
            "--port (0: any free port)"
        ) from ended


def _put_down(app: FastAPI, server: _Server) -> None:
    """Wait for the work to be put down, then go at once: neither a thread nor what libraries do at exit may take longer."""
    if not app.state.driver.join(max(0.0, server.told_at + PUT_DOWN_SECONDS - time.monotonic())):
        log.warning("the work was not put down in %.0f s: its claims are free when their leases end", PUT_DOWN_SECONDS)
    logging.shutdown()
    os._exit(0 if server.started else 1)
