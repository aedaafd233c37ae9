"""How the services write their logs: one line per record on standard error."""

from collections.abc import Mapping
from typing import Any


def log_lines(levels: Mapping[str, str]) -> dict[str, Any]:
    """Configuration for `logging.config.dictConfig`: these loggers at these levels, and none other."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"named": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"named": {"class": "logging.StreamHandler", "formatter": "named"}},
        "loggers": {name: {"handlers": ["named"], "level": level, "propagate": False} for name, level in levels.items()},
    }
