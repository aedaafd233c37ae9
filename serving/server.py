"""Running the service: in the foreground for the command line, or beside other work (tests, `mdmt serve --answer`)."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from cxr.log_privacy import withhold_texts
from serving.allocator import keep_little
from serving.app import create_app
from serving.authorization import check_open
from serving.ending import EndingServer, run_to_the_end
from serving.large_bodies import LargeBodies
from serving.readiness import LoadedBundle, Source
from serving.registry import registry_source
from serving.settings import Settings

GRACE_SECONDS = 10  # the longest queue is answered by then, and a half-sent upload must not hold up the end of the process
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
        "serving.audit": {"handlers": ["plain"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["named"], "level": "INFO", "propagate": False},
    },
}


def serve(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 8000,
    load_bundle: Source | Callable[[], LoadedBundle] | None = None,
    listening: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. With port 0 the system chooses; `listening` is told the base URL once it can be connected to.

    `load_bundle` defaults to the registry of the settings. Raises NotLoopback and KeyFileError before anything is bound; ends the process.
    """
    check_open(settings, host)
    withhold_texts()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold films
    keep_little(settings.workers)
    config = _config(settings, load_bundle, host, port, LOGGING)
    listener = bound(config)
    listener.listen(config.backlog)  # before the port is told: who connects at once waits instead of being refused
    if listening is not None:
        listening(_url(host, listener.getsockname()[1]))
    run_to_the_end(EndingServer(config, settings.farewell_seconds), listener)


@contextmanager
def running(
    settings: Settings, load_bundle: Source | Callable[[], LoadedBundle] | None = None, host: str = "127.0.0.1", port: int = 0
) -> Iterator[str]:
    """The same server on a thread of this process, for the length of a `with`; gives the base URL. Logging is left alone."""
    config = _config(settings, load_bundle, host, port, None)
    listener = bound(config)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start within {START_SECONDS} s: its log says why")
            time.sleep(0.01)
        yield _url(host, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(GRACE_SECONDS + 2)


def bound(config: uvicorn.Config) -> socket.socket:
    """The socket to listen on; the connections that it accepts send at once.

    asyncio sees to that only where the protocol number is TCP's, uvicorn's sockets have none: an answer in two pieces then waits for
    the client's delayed acknowledgement, 40 ms on a connection that is kept alive.
    """
    listener = config.bind_socket()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _config(
    settings: Settings,
    load_bundle: Source | Callable[[], LoadedBundle] | None,
    host: str,
    port: int,
    log_config: dict[str, Any] | None,
) -> uvicorn.Config:
    if load_bundle is None:
        load_bundle = registry_source(settings)
    return uvicorn.Config(
        create_app(settings, load_bundle),
        host=host,
        port=port,
        http=LargeBodies,
        lifespan="on",  # by itself uvicorn takes a failure at the start for an application without one, and serves 500
        access_log=False,
        log_config=log_config,
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
