"""From a study to its part of docs/evidence.md."""

from importlib import import_module
from pathlib import Path

from training.evidence.page import NoPlace, keep, put
from training.protocol.study import Study, View


def write_evidence(study: Study, view: View, folder: Path, page: Path | None) -> bool:
    """Write what the study has shown into its report `folder` and, where one is given, into `page`; False for a recipe without evidence.

    Raises NoPlace for a page that a recipe without evidence cannot fill.
    """
    name = study.recipe.evidence
    if name is None:
        if page is not None:
            raise NoPlace(f"recipe {study.recipe.name!r} has no part in {page}: its field `evidence` is not set")
        return False
    part = import_module(f"training.evidence.{name}").part(study, view)
    folder.mkdir(parents=True, exist_ok=True)
    keep(part, folder)
    if page is not None:
        put(part, page)
    return True
