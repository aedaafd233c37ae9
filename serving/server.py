"""Running the service: in the foreground for the command line, or beside other work (tests, `mdmt serve --answer`)."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from serving.app import create_app
from serving.readiness import LoadedBundle
from serving.settings import Settings

GRACE_SECONDS = 5  # a half-sent upload must not hold up the end of the process
START_SECONDS = 30
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}, "named": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "plain": {"class": "logging.StreamHandler", "formatter": "plain"},
        "named": {"class": "logging.StreamHandler", "formatter": "named"},
    },
    "loggers": {
        "serving": {"handlers": ["named"], "level": "INFO", "propagate": False},
        "serving.access": {"handlers": ["plain"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["named"], "level": "INFO", "propagate": False},
    },
}


def serve(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 8000,
    load_bundle: Callable[[], LoadedBundle] | None = None,
    listening: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. With port 0 the system chooses; `listening` is told the base URL once it can be connected to.

    `load_bundle` defaults to the registry of the settings.
    """
    config = _config(settings, load_bundle, host, port, LOGGING)
    socket = config.bind_socket()
    socket.listen(config.backlog)  # before the port is told: who connects at once waits instead of being refused
    if listening is not None:
        listening(_url(host, socket.getsockname()[1]))
    uvicorn.Server(config).run(sockets=[socket])


@contextmanager
def running(
    settings: Settings, load_bundle: Callable[[], LoadedBundle] | None = None, host: str = "127.0.0.1", port: int = 0
) -> Iterator[str]:
    """The same server on a thread of this process, for the length of a `with`; gives the base URL. Logging is left alone."""
    config = _config(settings, load_bundle, host, port, None)
    socket = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, name="http", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start within {START_SECONDS} s: its log says why")
            time.sleep(0.01)
        yield _url(host, socket.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(GRACE_SECONDS + 2)


def _config(
    settings: Settings, load_bundle: Callable[[], LoadedBundle] | None, host: str, port: int, log_config: dict[str, Any] | None
) -> uvicorn.Config:
    if load_bundle is None:
        from serving.reload import registry_loader  # here, because importing MLflow takes seconds

        load_bundle = registry_loader(settings)
    return uvicorn.Config(
        create_app(settings, load_bundle),
        host=host,
        port=port,
        access_log=False,
        log_config=log_config,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
