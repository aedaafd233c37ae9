"""Where the contract of executors tries each kind that can be chosen, `services.executors.choice.KINDS`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.contracts.cluster_place import Tasks
from tests.contracts.executor_places import Containers, Processes

Place = Processes | Containers | Tasks
# kind → place, from a folder of the test's own, where it is ("": one of the test's own) and the image of its containers.
PLACES: Mapping[str, Callable[[Path, str, str], Place]] = {
    "process": lambda folder, where, image: Processes(folder),
    "container": lambda folder, where, image: Containers(image, stack=where) if where else Containers(image),
    "cluster": lambda folder, where, image: Tasks(where or None),
}


def place_of(kind: str, folder: Path, where: str = "", image: str = "") -> Place:
    """ValueError for a kind that has no place, so that no other is tried in its stead."""
    if kind not in PLACES:
        raise ValueError(f"nowhere to try executor {kind!r}; there is a place for {', '.join(PLACES)}: add one to PLACES")
    return PLACES[kind](folder, where, image)
