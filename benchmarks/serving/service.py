"""Our service over a folder instead of a registry: `python -m benchmarks.serving.service FOLDER PORT`."""

import sys
from pathlib import Path

from cxr.bundle import Bundle
from cxr.graphs import EngineName, installed
from cxr.host import fastest
from cxr.precision import ways
from serving.readiness import LoadedBundle
from serving.server import serve
from serving.settings import Settings

WAITING = 64  # places of the queue


def chosen_engine(folder: Path) -> EngineName:
    """As the service chooses for a bundle; measured once, kept beside it."""
    return fastest(folder, ways({}, installed()), folder.parent / "engines.json").engine


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    settings = Settings(queue=WAITING)

    def load() -> LoadedBundle:
        bundle = Bundle(folder, settings.threads, chosen_engine(folder), settings.workers, settings.alone)
        return LoadedBundle(bundle, "benchmark", "1", "champion")

    serve(settings, port=port, load_bundle=load)


if __name__ == "__main__":
    main()
