"""`python -m serving`: the service alone, as its image starts it; everything else is set by `MDMT_…` variables."""

import argparse
import sys

from cxr.environment import BadSetting
from serving.authorization import NotLoopback
from serving.keys import KeyFileError
from serving.server import serve
from serving.settings import Settings


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8000)
    chosen = options.parse_args()
    try:
        serve(Settings(), chosen.host, chosen.port)
    except (BadSetting, NotLoopback, KeyFileError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
