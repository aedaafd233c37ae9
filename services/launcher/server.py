"""Running the launcher in the foreground."""

from typing import Any

import uvicorn

from services.launcher.app import create_app
from services.launcher.settings import Settings
from services.log_lines import log_lines

GRACE_SECONDS = 3  # a caller that waits for a container to end asks again
LOGGING = log_lines({"services.launcher": "INFO", "uvicorn": "INFO"})


def configuration(settings: Settings, host: str, port: int, log_config: dict[str, Any] | None = LOGGING) -> uvicorn.Config:
    """HTTP/1.1 alone: no upgrades, no proxies in between."""
    return uvicorn.Config(
        create_app(settings), host=host, port=port, http="h11", ws="none", lifespan="off", proxy_headers=False,
        server_header=False, access_log=False, log_config=log_config, timeout_graceful_shutdown=GRACE_SECONDS,
    )  # fmt: skip


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    uvicorn.Server(configuration(settings, host, port)).run()
