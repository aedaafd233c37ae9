"""A service that follows an alias between two good versions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.readiness import Readiness
from tests.serving.conftest import service
from tests.serving.test_refusals import PNG
from tests.serving.tiny_bundle import encoded, film
from tests.serving.versions import Shelf, settings_for

FILM = encoded(film(seed=5))


@contextmanager
def following(folder: Path, good: list[Path], **changes: object) -> Iterator[tuple[Shelf, object, Readiness]]:
    """A shelf with two good versions, a client of a service that serves version 1, and what follows the alias."""
    settings = settings_for(folder, **changes)
    shelf = Shelf(settings)
    for number, path in enumerate(good, start=1):
        shelf.put(str(number), path)
    with service(shelf.source(), **settings.model_dump()) as client:
        yield shelf, client, client.app.state.readiness


def served(client: object) -> str:
    body = client.post("/predict", content=FILM, headers=PNG).json()
    return str(body["model"]["version"])


def refused_so_far(client: object, kind: str) -> float:
    line = f'mdmt_versions_refused_total{{reason="{kind}"}} '
    return next((float(text.removeprefix(line)) for text in client.get("/metrics").text.splitlines() if text.startswith(line)), 0)
